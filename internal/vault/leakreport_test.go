package vault_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// leak is a path that three services read, one of them by an operator.
type leak struct {
	*vaulttest.Env
	clock                             *setClock
	began                             time.Time
	api, worker, synced, spy, auditor secret.Caller
}

func newLeak(t *testing.T) *leak {
	t.Helper()
	l := &leak{clock: &setClock{now: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}}
	l.began = l.clock.Now()
	l.Env = vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: l.clock.Now})
	l.Sync(t, "default")
	l.api, l.worker = vaulttest.ServiceAccount("payments", "api", "production"), vaulttest.ServiceAccount("batch", "worker", "production")
	l.synced, l.spy = vaulttest.ServiceAccount("web", "shop", "production"), vaulttest.ServiceAccount("other", "spy", "staging")
	l.auditor = vaulttest.ServiceAccount("security", "auditor", "")
	for _, c := range []*secret.Caller{&l.api, &l.worker} {
		c.Address = "10.0.0.1"
		l.Allow(t, *c, "aws/*", policy.Read)
	}
	l.synced.Address = secret.OperatorAddress
	l.Allow(t, l.synced, "aws/*", policy.Read)
	l.Allow(t, l.auditor, "aws/*", policy.Audit)
	return l
}

// at sets the clock to so many minutes after the beginning.
func (l *leak) at(minutes int) { l.clock.Set(l.minute(minutes)) }

func (l *leak) minute(n int) time.Time { return l.began.Add(time.Duration(n) * time.Minute) }

func (l *leak) reads(t *testing.T, minute int, caller secret.Caller) {
	t.Helper()
	l.at(minute)
	if _, err := read(t, l.Engine, caller, ref(t, "aws/key", 0)); err != nil && caller.Name != l.spy.Name {
		t.Fatal(err)
	}
}

func (l *leak) report(t *testing.T, q vault.LeakQuery) vault.LeakReport {
	t.Helper()
	q.Path = path("aws/key")
	report, err := l.Engine.LeakReport(t.Context(), l.auditor, q)
	must(t, err)
	return report
}

// read is a reader as they are told of, of production and the cluster default.
func (l *leak) reader(c secret.Caller, via vault.Via, times int64, first, last int, versions ...int64) vault.LeakReader {
	r := vault.LeakReader{
		Kind: "ServiceAccount", Caller: c.String(), Cluster: "default", Namespace: c.Namespace, Environment: c.Environment,
		Via: via, Versions: versions, Times: times, FirstAt: l.minute(first), LastAt: l.minute(last),
	}
	if via == vault.ViaAPI {
		r.Addresses = []string{c.Address}
	}
	return r
}

// TestLeakReport: who read the version, how often, when first and last and on which way, the last first; who was
// refused; and who has it still. Reads of another version, and of a path that begins like it, are none.
func TestLeakReport(t *testing.T) {
	l := newLeak(t)
	l.spy.Address = "10.6.6.6"
	l.Put(t, "aws/key", "one")
	l.Put(t, "aws/key-old", "old")
	l.reads(t, 1, l.worker)
	l.reads(t, 2, l.spy)
	l.at(10)
	l.Put(t, "aws/key", "two")
	l.reads(t, 11, l.api)
	l.reads(t, 12, l.synced)
	l.reads(t, 13, l.spy)
	l.reads(t, 14, l.worker)
	l.worker.Address = "10.0.0.2"
	l.reads(t, 15, l.worker)
	l.reads(t, 16, l.spy)
	_, err := read(t, l.Engine, l.api, ref(t, "aws/key-old", 0))
	must(t, err)
	must(t, l.Engine.Acknowledge(t.Context(), "default", []secret.Acknowledgement{
		vaultSecret(t, "shop", "Synced", 2, 2, "aws/key", 2), vaultSecret(t, "late", "Suspended", 0, 0, "aws/key", 1),
	}))

	worker := l.reader(l.worker, vault.ViaAPI, 2, 14, 15, 2)
	worker.Addresses = []string{"10.0.0.2", "10.0.0.1"}
	refused := l.reader(l.spy, vault.ViaAPI, 2, 13, 16)
	refused.Action = audit.Read
	want := vault.LeakReport{
		Path: path("aws/key"), Current: 2, Version: 2, WrittenAt: l.minute(10), WrittenBy: l.Admin.String(), Since: l.minute(10), CompleteSince: l.minute(10),
		Readers: []vault.LeakReader{worker, l.reader(l.synced, vault.ViaOperator, 1, 12, 12, 2), l.reader(l.api, vault.ViaAPI, 1, 11, 11, 2)},
		Refused: []vault.LeakReader{refused},
	}
	compare := func(what string, want, got vault.LeakReport) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(secret.Path{}), cmpopts.IgnoreFields(vault.LeakReport{}, "Holders")); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}
	got := l.report(t, vault.LeakQuery{})
	compare("the current version", want, got)
	var holders []string
	for _, h := range got.Holders {
		holders = append(holders, h.String())
	}
	if diff := cmp.Diff([]string{"VaultSecret payments/shop in cluster default", "ServiceAccount batch/worker in cluster default", "ServiceAccount payments/api in cluster default"}, holders); diff != "" {
		t.Errorf("holders (-want +got)\n%s", diff)
	}
	if last := lastAudit(t, l.Env); last.Action != audit.LeakReport || last.Version != 2 || last.Decision != audit.Allowed || last.Caller != "security/auditor" {
		t.Errorf("audited as %+v", last)
	}

	want.Since, want.CompleteSince = l.minute(12), l.minute(12)
	want.Readers = want.Readers[:2]
	compare("since the read of the operator", want, l.report(t, vault.LeakQuery{Version: 2, Since: l.minute(12)}))

	first := l.reader(l.worker, vault.ViaAPI, 1, 1, 1, 1)
	first.Addresses = []string{"10.0.0.1"}
	all := l.report(t, vault.LeakQuery{Version: 1})
	if diff := cmp.Diff([]vault.LeakReader{first}, all.Readers); diff != "" || all.Current != 2 || len(all.Holders) != 2 {
		t.Errorf("version 1: %+v (-want +got)\n%s", all, diff)
	}
	worker.Times, worker.FirstAt, worker.Versions = 3, l.minute(1), []int64{1, 2}
	all = l.report(t, vault.LeakQuery{Since: l.began.Add(-time.Hour)})
	if diff := cmp.Diff(worker, all.Readers[0]); diff != "" || all.Version != 0 || all.Refused[0].Times != 3 || len(all.Holders) != 5 {
		t.Errorf("all versions: %+v (-want +got)\n%s", all, diff)
	}

	_, err = l.Engine.LeakReport(t.Context(), l.auditor, vault.LeakQuery{Path: path("aws/key"), Version: 3})
	wantError(t, err, secret.ErrVersionNotFound)
	for _, stranger := range []secret.Caller{l.spy, l.api} {
		_, err = l.Engine.LeakReport(t.Context(), stranger, vault.LeakQuery{Path: path("aws/key")})
		wantError(t, err, secret.ErrDenied)
	}
	_, err = l.Engine.LeakReport(t.Context(), l.auditor, vault.LeakQuery{Path: path("aws/none")})
	wantError(t, err, secret.ErrDenied)
}

// TestLeakReportCountsWhatItCannotBelieve, and goes on: a row that says another reader than was written, and one of before the
// chain.
func TestLeakReportCountsWhatItCannotBelieve(t *testing.T) {
	l := newLeak(t)
	l.Put(t, "aws/key", "one")
	l.reads(t, 1, l.api)
	l.reads(t, 2, l.worker)
	exec(t, l.Env, `UPDATE audit SET caller = 'nobody/nothing' WHERE action = 'read' AND caller = 'payments/api'`)
	exec(t, l.Env, `INSERT INTO audit (at, cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version, decision, rule, address, request_id, heads, seq, previous, mac)
		SELECT at, cluster, caller_kind, 'batch/before', namespace, caller_uid, environment, action, path, version, decision, rule, address, request_id, '', 0, '', ''
		FROM audit WHERE action = 'read' AND caller = 'batch/worker'`)
	report := l.report(t, vault.LeakQuery{})
	if report.Changed != 1 || report.Unchained != 1 || len(report.Readers) != 2 || report.Readers[0].Caller != "batch/before" || report.Readers[1].Caller != "batch/worker" {
		t.Errorf("%+v", report)
	}
	if last := lastAudit(t, l.Env); !strings.HasSuffix(last.Rule, "; 1 rows of the audit log fail their integrity check") {
		t.Errorf("audited as %+v", last)
	}
	exec(t, l.Env, `UPDATE readers SET version = 7`)
	report = l.report(t, vault.LeakQuery{})
	if report.HoldersProblem == "" || len(report.Readers) != 2 {
		t.Errorf("with a changed record of who reads: %+v", report)
	}
}

// TestLeakReportSaysFromWhenItIsComplete: from where the log begins, or as far back as it was read.
func TestLeakReportSaysFromWhenItIsComplete(t *testing.T) {
	l := newLeak(t)
	l.Put(t, "aws/key", "one")
	for minute := 1; minute <= 6; minute++ {
		l.reads(t, minute, l.api)
	}
	asked := vault.LeakReport{Path: path("aws/key"), Version: 1, WrittenAt: l.began, Since: l.began}
	report, err := vault.LeakReportOf(t.Context(), l.Engine, asked, 4)
	if err != nil || !report.CompleteSince.Equal(l.minute(3)) || report.Readers[0].Times != 4 {
		t.Errorf("of 4 rows: %+v, %v", report, err)
	}
	asked.WrittenAt, asked.Since = l.began.AddDate(0, -1, 0), l.began.AddDate(0, -1, 0)
	report, err = vault.LeakReportOf(t.Context(), l.Engine, asked, 100)
	if err != nil || !report.CompleteSince.Equal(l.began) || report.Readers[0].Times != 6 {
		t.Errorf("of a month before the log: %+v, %v", report, err)
	}
}

// TestLeak: it is audited with its reason; where a rotation is defined that begins, and waits for nobody; one that is under way does so from then on;
// and there is nothing to rotate for a version that is replaced.
func TestLeak(t *testing.T) {
	l := newLeak(t)
	l.Put(t, "aws/key", "one")
	p := path("aws/key")
	leaked := func(version int64) (*rotation.Run, error) {
		t.Helper()
		return l.Engine.Leak(t.Context(), l.Admin, p, version, "in a log")
	}
	audited := func(decision audit.Decision, version int64, rule string) {
		t.Helper()
		if last := lastAudit(t, l.Env); last.Action != audit.Leak || last.Decision != decision || last.Version != version || !strings.HasSuffix(last.Rule, rule) {
			t.Errorf("audited as %+v", last)
		}
	}
	if run, err := leaked(0); run != nil || err != nil {
		t.Errorf("without a rotation: %+v, %v", run, err)
	}
	audited(audit.Allowed, 1, "; version 1 is leaked: in a log")
	if report := l.report(t, vault.LeakQuery{}); report.Rotation != nil {
		t.Errorf("it tells of a rotation: %+v", report.Rotation)
	}

	_, err := l.Engine.ReplaceRotations(t.Context(), "default", []rotation.Definition{rotationOf("aws/key")})
	must(t, err)
	run, err := leaked(1)
	must(t, err)
	if run.State != rotation.Planned || !run.RevokeOld || run.Cause != rotation.ByHand || run.By != l.Admin.String() {
		t.Errorf("it began %+v", run)
	}
	audited(audit.Allowed, 0, "; version 1 is leaked: in a log; rotation of aws/key: planned, asked for by "+l.Admin.String())
	if report := l.report(t, vault.LeakQuery{}); report.Rotation == nil || report.Rotation.Newest == nil || report.Rotation.Newest.ID != run.ID {
		t.Errorf("it tells of the rotation %+v", report.Rotation)
	}
	again, err := leaked(0)
	if err != nil || again.ID != run.ID || again.Steps != 2 {
		t.Errorf("again: %+v, %v", again, err)
	}

	_, err = l.Engine.CancelRotation(t.Context(), l.Admin, p)
	must(t, err)
	_, err = leaked(1)
	wantError(t, err, secret.ErrConflict)
	audited(audit.Failed, 1, "the path is not in a state for it")

	l.Put(t, "aws/key", "two")
	if run, err := leaked(1); run != nil || err != nil {
		t.Errorf("a version that is replaced: %+v, %v", run, err)
	}
	_, err = leaked(3)
	wantError(t, err, secret.ErrVersionNotFound)
	_, err = l.Engine.Leak(t.Context(), l.auditor, p, 1, "")
	wantError(t, err, secret.ErrDenied)
	_, err = l.Engine.Leak(t.Context(), l.Admin, path("aws/none"), 0, "")
	wantError(t, err, secret.ErrDenied)
	_, err = l.Engine.Leak(t.Context(), l.Admin, p, 0, strings.Repeat("x", 2000))
	wantError(t, err, secret.ErrInvalid)
}

// TestLeakIsTold with its audit row: by the run that replaces the version, or else by itself; and one that is refused is not.
func TestLeakIsTold(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Notify: true})
	env.Sync(t, "default")
	env.Put(t, "aws/key", "one")
	leaked := func(caller secret.Caller, version int64) error {
		_, err := env.Engine.Leak(t.Context(), caller, path("aws/key"), version, "in a log")
		return err
	}
	told := func(want ...string) {
		t.Helper()
		got := route(t, env.Engine)
		slices.Sort(got) // those of one moment have no order
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	}
	must(t, leaked(env.Admin, 0))
	must(t, leaked(env.Admin, 1)) // the same again, before anybody was told
	told("dev.coffer.secret.leaked aws/key")

	wantError(t, leaked(env.Admin, 2), secret.ErrVersionNotFound)
	wantError(t, leaked(vaulttest.ServiceAccount("a", "b", ""), 1), secret.ErrDenied)
	told()

	_, err := env.Engine.ReplaceRotations(t.Context(), env.Admin.Cluster, []rotation.Definition{rotationOf("aws/key")})
	must(t, err)
	must(t, leaked(env.Admin, 1))
	told("dev.coffer.rotation.started aws/key", "dev.coffer.secret.leaked aws/key")
}
