package vault_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/store"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// setClock is a clock that a test sets.
type setClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *setClock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func date(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
}

// texts is one column of text.
func texts(t testing.TB, env *vaulttest.Env, sql string, args ...any) []string {
	t.Helper()
	rows, err := connect(t, env).Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// parts are the partitions of the log, without the default one.
func parts(t testing.TB, env *vaulttest.Env) []string {
	t.Helper()
	return texts(t, env, `SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'audit'::regclass AND c.relname <> 'audit_default' ORDER BY 1`)
}

func maintain(t testing.TB, engine *vault.Engine) {
	t.Helper()
	if err := engine.MaintainAudit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wantWhole(t testing.TB, env *vaulttest.Env, engine *vault.Engine, when string) audit.Report {
	t.Helper()
	report := verify(t, env, engine)
	if len(report.Findings) > 0 {
		t.Fatalf("%s the log does not verify: %+v", when, report.Findings)
	}
	return report
}

// pastVault is a vault that was made in January 2025, as its clock says: retention also asks the clock of
// the database.
func pastVault(t testing.TB, retention int) (*vaulttest.Env, *setClock) {
	t.Helper()
	clock := &setClock{now: date(2025, time.January, 10)}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now, AuditRetention: retention})
	exec(t, env, `ALTER TABLE audit DETACH PARTITION audit_first;
		ALTER TABLE audit ATTACH PARTITION audit_first FOR VALUES FROM (MINVALUE) TO ('2025-02-01 00:00:00+00')`)
	maintain(t, env.Engine)
	return env, clock
}

// months lets a vault work until the month in which the clock then stands: with an engine that works all the time, and
// one each month that ends with it. At the end of a month, clocks of a process are not in order.
func months(t testing.TB, env *vaulttest.Env, clock *setClock, n int) {
	t.Helper()
	for range n {
		replica := env.Open(t)
		for _, engine := range []*vault.Engine{env.Engine, replica} {
			env.Put(t, "a/b", "v")
			wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
		}
		next := audit.MonthOf(clock.Now()).Add(1).Start()
		for _, at := range []time.Duration{time.Millisecond, -time.Millisecond, time.Hour, -time.Second, 10 * 24 * time.Hour} {
			clock.Set(next.Add(at))
			wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
		}
		wantWhole(t, env, env.Engine, "before the partitions were looked after")
		maintain(t, env.Engine)
		wantWhole(t, env, replica, "after "+clock.Now().Format(time.DateOnly))
	}
}

// TestRetentionDropsWholeMonths, and the log verifies after each, also when checkpoints are dropped themselves.
func TestRetentionDropsWholeMonths(t *testing.T) {
	env, clock := pastVault(t, 2)
	months(t, env, clock, 7)
	want := []string{"audit_2025_06", "audit_2025_07", "audit_2025_08", "audit_2025_09", "audit_2025_10"}
	if diff := cmp.Diff(want, parts(t, env)); diff != "" {
		t.Errorf("in August, two months kept (-want +got)\n%s", diff)
	}
	report := wantWhole(t, env, env.Open(t), "at the end")
	if report.From.Before(date(2025, time.June, 1).Add(-12*time.Hour)) || report.Dropped < 30 {
		t.Errorf("the oldest row is of %s, and %d were dropped", report.From, report.Dropped)
	}
	var dropped []string
	for _, e := range auditRows(t, env, `WHERE action = 'checkpoint' ORDER BY id`) {
		part, _, _ := strings.Cut(strings.TrimPrefix(e.Rule, "retention of 2 months: dropped "), ",")
		dropped = append(dropped, part)
		if e.Caller != "system:audit" || e.Path != "sys/audit" || e.Decision != audit.Allowed {
			t.Errorf("checkpoint: %+v", e)
		}
	}
	if diff := cmp.Diff([]string{"audit_2025_03", "audit_2025_04", "audit_2025_05"}, dropped); diff != "" {
		t.Errorf("checkpoints (-want +got)\n%s", diff)
	}
	if n := texts(t, env, `SELECT heads FROM audit WHERE action = 'checkpoint' ORDER BY id`); !strings.Contains(strings.Join(n, ""), "chained 1\n") {
		t.Error("the checkpoints do not know where the chain began")
	}
}

// TestRetentionIsForEver unless it is set.
func TestRetentionIsForEver(t *testing.T) {
	env, clock := pastVault(t, 0)
	months(t, env, clock, 1)
	clock.Set(date(2026, time.October, 1))
	maintain(t, env.Engine)
	if got := parts(t, env); got[len(got)-1] != "audit_first" || !slices.Contains(got, "audit_2025_02") {
		t.Errorf("parts: %s", got)
	}
}

// TestRetentionAsksTwoClocks: a process whose clock is ahead drops nothing.
func TestRetentionAsksTwoClocks(t *testing.T) {
	env, clock := pastVault(t, 12)
	clock.Set(time.Now())
	env.Put(t, "a/b", "v")
	maintain(t, env.Engine)
	kept := parts(t, env)
	clock.Set(time.Now().AddDate(50, 0, 0))
	maintain(t, env.Engine)
	for _, part := range kept {
		if !slices.Contains(parts(t, env), part) {
			t.Errorf("%s was dropped", part)
		}
	}
}

// TestVerifyAfterRetentionNamesWhatIsWrong: a checkpoint explains the rows that it names and no others.
func TestVerifyAfterRetentionNamesWhatIsWrong(t *testing.T) {
	const lane = `WITH lane AS (SELECT writer AS w, min(seq) AS low, max(seq) AS n FROM audit GROUP BY writer HAVING min(seq) > 1 ORDER BY count(*) DESC LIMIT 1) `
	const forge = `INSERT INTO audit SELECT (i.r).* FROM (SELECT json_populate_record(a, json_build_object('id', nextval('audit_id'), 'heads',
		(SELECT string_agg(format('dropped %s 1 %s %s', writer, seq, encode(mac, 'hex')), E'\n') || E'\n' FROM audit_writers))) AS r FROM audit a WHERE action = 'checkpoint' LIMIT 1) i`
	for name, c := range map[string]struct {
		sql  []string
		want []audit.Kind // some of each
	}{
		"the first row that is left":        {[]string{lane + `DELETE FROM audit USING lane WHERE writer = w AND seq = low`}, []audit.Kind{audit.Missing}},
		"a row further on":                  {[]string{lane + `DELETE FROM audit USING lane WHERE writer = w AND seq = n - 1`}, []audit.Kind{audit.Missing}},
		"the end of a writer":               {[]string{lane + `DELETE FROM audit USING lane WHERE writer = w AND seq = n`}, []audit.Kind{audit.Truncated}},
		"a month dropped by hand":           {[]string{`DROP TABLE audit_2025_03`}, []audit.Kind{audit.Missing, audit.Truncated}},
		"a month emptied by hand":           {[]string{`TRUNCATE audit_2025_03`}, []audit.Kind{audit.Missing, audit.Truncated}},
		"a checkpoint edited":               {[]string{`UPDATE audit SET heads = replace(heads, 'dropped', 'anchored') WHERE action = 'checkpoint'`}, []audit.Kind{audit.Changed, audit.Missing}},
		"checkpoints removed":               {[]string{`DELETE FROM audit WHERE action = 'checkpoint'`}, []audit.Kind{audit.Missing, audit.Truncated}},
		"a month gone, a checkpoint forged": {[]string{`DROP TABLE audit_2025_03`, forge}, []audit.Kind{audit.Changed, audit.Missing, audit.Truncated}},
		"a row from before the chain":       {[]string{`INSERT INTO audit SELECT (r).* FROM (SELECT json_populate_record(a, '{"id": 3, "seq": 0, "mac": "\\x", "writer": "00000000-0000-0000-0000-000000000000"}') AS r FROM audit a ORDER BY id DESC LIMIT 1) x`}, []audit.Kind{audit.Unchained}},
	} {
		t.Run(name, func(t *testing.T) {
			env, clock := pastVault(t, 2)
			months(t, env, clock, 4) // May: audit_first and February are gone
			replica := env.Open(t)
			wantWhole(t, env, replica, "at first")
			for _, sql := range c.sql {
				exec(t, env, sql)
			}
			found := map[audit.Kind]bool{}
			report := verify(t, env, replica)
			for _, f := range report.Findings {
				found[f.Kind] = true
			}
			for _, kind := range c.want {
				if !found[kind] {
					t.Errorf("nothing is %s: %+v", kind, report.Findings)
				}
			}
		})
	}
}

// TestRetentionKeepsWhatDoesNotVerify, and drops other months, and that one too when its rows are put right.
func TestRetentionKeepsWhatDoesNotVerify(t *testing.T) {
	// The second row of the writer that has most.
	const second = ` WHERE id = (SELECT id FROM audit_2025_02 WHERE writer = (SELECT writer FROM audit_2025_02 GROUP BY writer ORDER BY count(*) DESC LIMIT 1)
		ORDER BY seq OFFSET 1 LIMIT 1)`
	for name, c := range map[string]struct{ wrong, right string }{
		"edited":  {`UPDATE audit_2025_02 SET caller = caller || 'x'` + second, `UPDATE audit_2025_02 SET caller = trim(trailing 'x' FROM caller) WHERE caller LIKE '%x'`},
		"removed": {`WITH gone AS (DELETE FROM audit_2025_02` + second + ` RETURNING *) INSERT INTO taken SELECT * FROM gone`, `INSERT INTO audit SELECT * FROM taken`},
		"added":   {`INSERT INTO audit_2025_02 SELECT * FROM foreigner`, `DELETE FROM audit WHERE caller = 'foreigner'`},
	} {
		t.Run(name, func(t *testing.T) {
			env, clock := pastVault(t, 2)
			months(t, env, clock, 3)
			exec(t, env, `CREATE SCHEMA aside; CREATE TABLE aside.taken AS SELECT * FROM audit WHERE false;
				CREATE TABLE aside.foreigner AS SELECT * FROM audit_2025_02 ORDER BY id DESC LIMIT 1;
				UPDATE aside.foreigner SET caller = 'foreigner', id = id + 1000000`)
			for _, table := range []string{"taken", "foreigner"} {
				c.wrong = strings.ReplaceAll(c.wrong, " "+table, " aside."+table)
				c.right = strings.ReplaceAll(c.right, " FROM "+table, " FROM aside."+table)
			}
			exec(t, env, c.wrong)
			clock.Set(date(2025, time.June, 20))
			maintain(t, env.Engine)
			got := parts(t, env)
			if !slices.Contains(got, "audit_2025_02") || slices.Contains(got, "audit_first") || slices.Contains(got, "audit_2025_03") {
				t.Fatalf("parts: %s", got)
			}
			if report := verify(t, env, env.Engine); len(report.Findings) == 0 {
				t.Error("it is not found")
			}
			exec(t, env, c.right)
			wantWhole(t, env, env.Engine, "put right")
			maintain(t, env.Engine)
			if got := parts(t, env); slices.Contains(got, "audit_2025_02") {
				t.Errorf("parts: %s", got)
			}
			wantWhole(t, env, env.Engine, "at the end")
		})
	}
}

// TestRetentionByManyReplicas at the same time, while all of them write.
func TestRetentionByManyReplicas(t *testing.T) {
	env, clock := pastVault(t, 2)
	months(t, env, clock, 2)
	engines := []*vault.Engine{env.Engine, env.Open(t), env.Open(t), env.Open(t)}
	clock.Set(date(2025, time.June, 20))
	var wait sync.WaitGroup
	for _, engine := range engines {
		wait.Go(func() {
			for range 10 {
				wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
			}
		})
		wait.Go(func() {
			if err := engine.MaintainAudit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	maintain(t, env.Engine)
	wantWhole(t, env, engines[1], "afterwards")
	if n := len(auditRows(t, env, `WHERE action = 'checkpoint'`)); n != 3 {
		t.Errorf("%d checkpoints, want one for each of three parts", n)
	}
}

// keptHeads keeps exported heads as a ConfigMap does, in memory.
type keptHeads struct {
	mu    sync.Mutex
	heads []audit.StoredHead
	saved chan struct{}
}

func (k *keptHeads) String() string { return "the test" }

func (k *keptHeads) Load(context.Context, uuid.UUID) ([]audit.StoredHead, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.heads), nil
}

func (k *keptHeads) Save(_ context.Context, _ uuid.UUID, heads []audit.StoredHead) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heads = audit.MergeExported(k.heads, heads)
	select {
	case k.saved <- struct{}{}:
	default:
	}
	return nil
}

// TestRetentionAndExportedHeads: heads of writers all of whose rows were dropped are no sign of an older database.
func TestRetentionAndExportedHeads(t *testing.T) {
	env, clock := pastVault(t, 2)
	heads := &keptHeads{saved: make(chan struct{}, 1)}
	open := func() *vault.Engine {
		engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
			DatabaseURL: env.Roles.Ordinary, OwnerURL: env.Roles.Owner, Root: env.Root, Clock: clock.Now, AuditHeads: heads, AuditRetention: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(closeEngine)
		return engine
	}
	first := open()
	wantWhole(t, env, first, "at first")
	select {
	case <-heads.saved:
	case <-time.After(time.Minute):
		t.Fatal("no heads were exported")
	}
	clock.Set(date(2026, time.January, 10))
	maintain(t, first)
	if slices.Contains(parts(t, env), "audit_first") {
		t.Fatal("nothing was dropped")
	}
	second := open()
	if report := wantWhole(t, env, second, "after it was dropped"); !report.Exported || report.Dropped == 0 {
		t.Errorf("report: %+v", report)
	}
	exec(t, env, `DELETE FROM audit WHERE action = 'checkpoint'`)
	if report := verify(t, env, second); len(report.Findings) == 0 {
		t.Error("the exported heads know no rows that are gone without a checkpoint")
	}
}

// oldRelease leaves the partitions as the release left them that did not make months, with the clock in the next month.
func oldRelease(t testing.TB) (*vaulttest.Env, *setClock, audit.Month) {
	t.Helper()
	clock := &setClock{now: time.Now()}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	for _, part := range parts(t, env) {
		if part != "audit_first" {
			exec(t, env, "DROP TABLE "+part)
		}
	}
	next := audit.MonthOf(time.Now()).Add(1)
	clock.Set(next.Start().Add(time.Hour))
	env.Put(t, "a/b", "v")
	for range 5 {
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	}
	return env, clock, next
}

func count(t testing.TB, env *vaulttest.Env, table string) string {
	t.Helper()
	return texts(t, env, `SELECT count(*)::text FROM `+table)[0]
}

// TestUpgradeThatComesLate: the first rows of a month stand where rows of no month do, so that its partition cannot just be made.
func TestUpgradeThatComesLate(t *testing.T) {
	env, clock, month := oldRelease(t)
	part := "audit_" + strings.ReplaceAll(month.String(), "-", "_")
	stray := count(t, env, "audit_default")
	if stray == "0" {
		t.Fatal("the rows are not where they were in the release before")
	}
	_, err := connect(t, env).Exec(t.Context(), fmt.Sprintf(`CREATE TABLE naive PARTITION OF audit FOR VALUES FROM ('%s') TO ('%s')`,
		month.Start().Format(time.RFC3339), month.End().Format(time.RFC3339)))
	if err == nil {
		t.Fatal("the partition could just be made")
	}
	before := texts(t, env, `SELECT a::text FROM audit a WHERE at >= $1 ORDER BY id`, month.Start())

	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			replica := env.Open(t)
			for range 10 {
				wantRead(t, replica, env.Admin, ref(t, "a/b", 0), "v")
			}
		})
	}
	for range 20 {
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	}
	wait.Wait()
	maintain(t, env.Engine)
	if n := count(t, env, "audit_default"); n != "0" {
		t.Errorf("%s rows are still in no month", n)
	}
	after := texts(t, env, `SELECT a::text FROM `+part+` a ORDER BY id`)
	if len(after) < len(before)+60 || !slices.Equal(before, after[:len(before)]) {
		t.Errorf("%d rows before and %d after", len(before), len(after))
	}
	wantWhole(t, env, env.Open(t), "moved")
	clock.Set(month.Add(1).Start()) // made ahead: nothing is in its way
	env.Put(t, "a/b", "w")
	if n := count(t, env, "audit_default"); n != "0" {
		t.Errorf("%s rows of the month after are in no month", n)
	}
}

// TestRowsOfWrongClocks go to no month, and to theirs when it is made.
func TestRowsOfWrongClocks(t *testing.T) {
	env, clock, month := oldRelease(t)
	maintain(t, env.Engine)
	ahead := month.Add(60)
	clock.Set(ahead.Start().Add(time.Hour))
	env.Put(t, "a/b", "v")
	clock.Set(month.Start().Add(2 * time.Hour))
	maintain(t, env.Engine)
	if n := count(t, env, "audit_default"); n != "1" {
		t.Errorf("%s rows are in no month, want the one of a clock that was ahead", n)
	}
	wantWhole(t, env, env.Engine, "ahead")
	clock.Set(ahead.Start().Add(2 * time.Hour))
	maintain(t, env.Engine)
	if n := count(t, env, "audit_default"); n != "0" {
		t.Errorf("%s rows are in no month when it came", n)
	}
	wantWhole(t, env, env.Engine, "come")

	exec(t, env, `ALTER TABLE audit DETACH PARTITION audit_first;
		ALTER TABLE audit ATTACH PARTITION audit_first FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('`+month.Start().Format(time.RFC3339)+`')`)
	clock.Set(time.Unix(3600, 0))
	env.Put(t, "a/b", "v")
	clock.Set(month.Start().Add(3 * time.Hour))
	maintain(t, env.Engine)
	if n, m := count(t, env, "audit_default"), count(t, env, "audit_1970_01"); n != "0" || m != "1" {
		t.Errorf("%s rows are in no month and %s in 1970", n, m)
	}
	wantWhole(t, env, env.Engine, "behind")
}

// TestPartitionsDoNotHoldUpWriters: who reads the whole log in one long transaction keeps months from being made
// and dropped, and nobody from writing.
func TestPartitionsDoNotHoldUpWriters(t *testing.T) {
	env, clock := pastVault(t, 1)
	months(t, env, clock, 1)
	tx, err := connect(t, env).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT count(*) FROM audit`); err != nil {
		t.Fatal(err)
	}
	clock.Set(date(2025, time.April, 10))
	before := parts(t, env)
	done := make(chan error, 1)
	go func() { done <- env.Engine.MaintainAudit(t.Context()) }()
	writing := true
	for writing {
		select {
		case err = <-done:
			writing = false
		default:
			env.Put(t, "a/b", "v")
		}
	}
	if err == nil || !strings.Contains(err.Error(), "lock timeout") || !slices.Equal(before, parts(t, env)) {
		t.Errorf("while the log is read: %v, %s", err, parts(t, env))
	}
	wantWhole(t, env, env.Engine, "while the log is read")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	maintain(t, env.Engine)
	if got := parts(t, env); slices.Contains(got, "audit_2025_02") || !slices.Contains(got, "audit_2025_06") {
		t.Errorf("parts: %s", got)
	}
	wantWhole(t, env, env.Engine, "afterwards")
}

// TestVerifyWhileMonthsGo: verification and backup see the log as of one moment, with the checkpoint of what is gone.
func TestVerifyWhileMonthsGo(t *testing.T) {
	env, clock := pastVault(t, 1)
	months(t, env, clock, 1)
	replica := env.Open(t)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if report := verify(t, env, replica); len(report.Findings) > 0 {
				t.Errorf("while months go: %+v", report.Findings)
				return
			}
		}
	})
	for month := time.March; month <= time.September; month++ {
		clock.Set(date(2025, month, 20))
		env.Put(t, "a/b", "v")
		settles(t, "to drop a month", func() error {
			if err := env.Engine.MaintainAudit(t.Context()); err != nil {
				return err
			}
			if old := fmt.Sprintf("audit_2025_%02d", month-2); slices.Contains(parts(t, env), old) {
				return errors.New(old + " is there")
			}
			return nil
		})
	}
	close(stop)
	wait.Wait()
}

// TestBackupKeepsMonths until it has read the log: a checkpoint that is newer than the backup would not be in it.
func TestBackupKeepsMonths(t *testing.T) {
	env, clock := pastVault(t, 1)
	months(t, env, clock, 1)
	clock.Set(date(2025, time.April, 10))
	s, err := store.Open(t.Context(), env.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := parts(t, env)
	err = s.ReadSnapshot(t.Context(), func(*store.Snapshot) error {
		if err := env.Engine.MaintainAudit(t.Context()); err == nil || !slices.Equal(before, parts(t, env)) {
			t.Errorf("while a backup is made: %v, %s", err, parts(t, env))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	maintain(t, env.Engine)
	if slices.Contains(parts(t, env), "audit_first") {
		t.Errorf("afterwards: %s", parts(t, env))
	}
}
