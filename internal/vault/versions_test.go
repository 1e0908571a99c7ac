package vault_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func labelRef(t testing.TB, path string, label secret.Label) secret.Ref {
	t.Helper()
	return secret.Ref{Path: vaulttest.Path(t, path), Label: label}
}

// putPending writes a version of a/b that is not current.
func putPending(t testing.TB, env *vaulttest.Env, value string) secret.Metadata {
	t.Helper()
	m, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, value), Pending: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantVersions compares the versions of a/b, newest first, each as number, state and labels.
func wantVersions(t testing.TB, env *vaulttest.Env, want ...string) {
	t.Helper()
	versions, err := env.Engine.Versions(t.Context(), env.Admin, vaulttest.Path(t, "a/b"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range versions {
		words := []string{fmt.Sprint(v.Version), string(v.State)}
		for _, label := range v.Labels {
			words = append(words, string(label))
		}
		got = append(got, strings.Join(words, " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLabelsMove(t *testing.T) {
	env := vaulttest.Start(t)
	ctx, path := t.Context(), vaulttest.Path(t, "a/b")
	_, err := env.Engine.Put(ctx, env.Admin, secret.PutRequest{Path: path, Pending: true})
	wantError(t, err, secret.ErrInvalid)
	if last := lastAudit(t, env); last.Action != audit.Put || last.Decision != audit.Failed || last.Path != "a/b" {
		t.Errorf("a write that was found impossible under the lock: %+v", last)
	}
	env.Put(t, "a/b", "one")
	for _, label := range []secret.Label{secret.Previous, secret.Pending} {
		_, err := read(t, env.Engine, env.Admin, labelRef(t, "a/b", label))
		wantError(t, err, secret.ErrVersionNotFound)
	}
	env.Put(t, "a/b", "two")
	if m := putPending(t, env, "three"); m.Version != 3 || !cmp.Equal(m.Labels, []secret.Label{secret.Pending}) {
		t.Errorf("pending: %+v", m)
	}
	wantVersions(t, env, "3 live pending", "2 live current", "1 live previous")
	wantRead(t, env.Engine, env.Admin, labelRef(t, "a/b", secret.Pending), "three")
	wantRead(t, env.Engine, env.Admin, labelRef(t, "a/b", secret.Previous), "one")
	putPending(t, env, "four")
	wantVersions(t, env, "4 live pending", "3 live", "2 live current", "1 live previous")

	_, err = env.Engine.Promote(ctx, env.Admin, path, new(int64(1)))
	wantError(t, err, secret.ErrConflict)
	m, err := env.Engine.Promote(ctx, env.Admin, path, new(int64(2)))
	if err != nil || m.Version != 4 {
		t.Errorf("promote: %+v, %v", m, err)
	}
	wantVersions(t, env, "4 live current", "3 live", "2 live previous", "1 live")
	_, err = env.Engine.Promote(ctx, env.Admin, path, nil)
	wantError(t, err, secret.ErrVersionNotFound)

	for _, step := range []struct {
		to   int64
		want string
	}{{0, "two"}, {0, "four"}, {1, "one"}, {1, "one"}, {0, "four"}} {
		if _, err := env.Engine.Rollback(ctx, env.Admin, secret.Ref{Path: path, Version: step.to}, nil); err != nil {
			t.Fatal(err)
		}
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), step.want)
	}
	if m := env.Put(t, "a/b", "five"); m.Version != 5 {
		t.Errorf("the write after a rollback has version %d", m.Version)
	}
	wantVersions(t, env, "5 live current", "4 live previous", "3 live", "2 live", "1 live")
}

func TestSingleVersionsAreDeletedAndDestroyed(t *testing.T) {
	env := vaulttest.Start(t)
	ctx, path := t.Context(), vaulttest.Path(t, "a/b")
	for _, value := range []string{"one", "two", "three", "four"} {
		env.Put(t, "a/b", value)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 1), "one") // cached
	wantError(t, env.Engine.DeleteVersions(ctx, env.Admin, path, 1, 4), secret.ErrVersionIsCurrent)
	wantError(t, env.Engine.DestroyVersions(ctx, env.Admin, path, 1, 4), secret.ErrVersionIsCurrent)
	wantError(t, env.Engine.DeleteVersions(ctx, env.Admin, path, 1, 5), secret.ErrVersionNotFound)
	wantError(t, env.Engine.DeleteVersions(ctx, env.Admin, path), secret.ErrInvalid)
	wantVersions(t, env, "4 live current", "3 live previous", "2 live", "1 live")

	must(t, env.Engine.DeleteVersions(ctx, env.Admin, path, 3, 1))
	must(t, env.Engine.DestroyVersions(ctx, env.Admin, path, 2))
	wantVersions(t, env, "4 live current", "3 deleted previous", "2 destroyed", "1 deleted")
	for version, want := range map[int64]error{1: secret.ErrVersionDeleted, 2: secret.ErrVersionDestroyed, 3: secret.ErrVersionDeleted} {
		_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", version))
		wantError(t, err, want)
		_, err = env.Engine.Rollback(ctx, env.Admin, ref(t, "a/b", version), nil)
		wantError(t, err, want)
	}
	wantError(t, env.Engine.UndeleteVersions(ctx, env.Admin, path, 1, 2), secret.ErrVersionDestroyed)
	must(t, env.Engine.UndeleteVersions(ctx, env.Admin, path, 1, 3))
	must(t, env.Engine.DestroyVersions(ctx, env.Admin, path, 2, 3))
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 1), "one")
	wantVersions(t, env, "4 live current", "3 destroyed", "2 destroyed", "1 live")
	_, err := env.Engine.Rollback(ctx, env.Admin, secret.Ref{Path: path}, nil)
	wantError(t, err, secret.ErrVersionNotFound)
	var left int
	must(t, connect(t, env).QueryRow(ctx, `SELECT count(*) FROM secret_versions WHERE version IN (2, 3) AND (box <> '' OR wrapped_key <> '')`).Scan(&left))
	if left != 0 {
		t.Errorf("%d destroyed versions have a box or a key", left)
	}
}

func TestPathsAreUndeletedAndDestroyed(t *testing.T) {
	env := vaulttest.Start(t)
	ctx, path := t.Context(), vaulttest.Path(t, "a/b")
	_, err := env.Engine.Undelete(ctx, env.Admin, path)
	wantError(t, err, secret.ErrDenied)
	wantError(t, env.Engine.Destroy(ctx, env.Admin, path), secret.ErrDenied)
	env.Put(t, "a/b", "one")
	env.PutShared(t, "a/b", "two", &secret.AccessPolicy{AllowedServices: []string{"*"}, AllowedEnvironments: []string{"*"}})
	must(t, env.Engine.Delete(ctx, env.Admin, path))
	for range 2 {
		m, err := env.Engine.Undelete(ctx, env.Admin, path)
		if err != nil || m.Version != 2 || len(m.Access.AllowedServices) != 1 {
			t.Errorf("undelete: %+v, %v", m, err)
		}
	}
	wantRead(t, env.Engine, env.Admin, labelRef(t, "a/b", secret.Previous), "one")
	_, err = read(t, env.Engine, env.Admin, ref(t, "a/b", 3)) // the deletion's number
	wantError(t, err, secret.ErrVersionNotFound)
	env.Put(t, "a/b", "four")
	wantVersions(t, env, "4 live current", "2 live previous", "1 live")

	for range 2 {
		must(t, env.Engine.Destroy(ctx, env.Admin, path))
	}
	_, err = read(t, env.Engine, env.Admin, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
	_, err = env.Engine.Undelete(ctx, env.Admin, path)
	wantError(t, err, secret.ErrVersionDestroyed)
	var left int
	must(t, connect(t, env).QueryRow(ctx, `SELECT count(*) FROM secret_versions WHERE box <> '' OR wrapped_key <> ''`).Scan(&left))
	if left != 0 {
		t.Errorf("%d versions of a destroyed path have a box or a key", left)
	}
	if m := env.Put(t, "a/b", "five"); m.Version != 5 || len(m.Access.AllowedServices) != 0 {
		t.Errorf("the path written again: %+v", m)
	}
	wantVersions(t, env, "5 live current")
}

func TestMaximumDestroysTheOldest(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "1")
	env.Put(t, "a/b", "2")
	putPending(t, env, "3")
	for i := 4; i <= 6; i++ {
		env.Put(t, "a/b", fmt.Sprint(i))
	}
	m, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b"), MaxVersions: new(4)})
	if err != nil || m.MaxVersions != 4 {
		t.Fatalf("%+v, %v", m, err)
	}
	wantVersions(t, env, "7 live current", "6 live previous", "5 live", "4 destroyed", "3 live pending", "2 destroyed", "1 destroyed")
	env.Put(t, "a/b", "8")
	wantVersions(t, env, "8 live current", "7 live previous", "6 live", "5 destroyed", "4 destroyed", "3 live pending", "2 destroyed", "1 destroyed")
	_, err = env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b"), MaxVersions: new(1)})
	must(t, err)
	wantVersions(t, env, "9 live current", "8 live previous", "7 destroyed", "6 destroyed", "5 destroyed", "4 destroyed", "3 live pending",
		"2 destroyed", "1 destroyed")
}

func TestVersionOperationsNeedTheirCapability(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	ctx, path := t.Context(), vaulttest.Path(t, "a/b")
	env.Put(t, "a/b", "one")
	env.Put(t, "a/b", "two")
	putPending(t, env, "three")
	operations := map[policy.Capability]map[audit.Action]func(secret.Caller) error{
		policy.Rotate: {
			audit.Rollback: func(c secret.Caller) error {
				_, err := env.Engine.Rollback(ctx, c, secret.Ref{Path: path}, nil)
				return err
			},
			audit.Promote: func(c secret.Caller) error { _, err := env.Engine.Promote(ctx, c, path, nil); return err },
		},
		policy.Delete: {
			audit.DeleteVersions:   func(c secret.Caller) error { return env.Engine.DeleteVersions(ctx, c, path, 1) },
			audit.UndeleteVersions: func(c secret.Caller) error { return env.Engine.UndeleteVersions(ctx, c, path, 1) },
			audit.DestroyVersions:  func(c secret.Caller) error { return env.Engine.DestroyVersions(ctx, c, path, 1) },
			audit.Undelete:         func(c secret.Caller) error { _, err := env.Engine.Undelete(ctx, c, path); return err },
			audit.Destroy:          func(c secret.Caller) error { return env.Engine.Destroy(ctx, c, path) },
		},
		policy.List: {
			audit.Versions: func(c secret.Caller) error { _, err := env.Engine.Versions(ctx, c, path); return err },
		},
	}
	without := vaulttest.ServiceAccount("payments", "without", "production")
	for _, capability := range policy.Capabilities() {
		if capability != policy.Rotate && capability != policy.Delete && capability != policy.List && capability != policy.Read {
			env.Allow(t, without, "**", capability)
		}
	}
	for _, named := range operations {
		for action, operate := range named {
			wantError(t, operate(without), secret.ErrDenied)
			if got := lastAudit(t, env); got.Action != action || got.Decision != audit.Denied || got.Path != "a/b" {
				t.Errorf("audit row of a denied %s: %+v", action, got)
			}
		}
	}
	with := vaulttest.ServiceAccount("payments", "with", "production")
	env.Allow(t, with, "**", policy.Rotate, policy.List)
	for _, capability := range []policy.Capability{policy.Rotate, policy.List} {
		for action, operate := range operations[capability] {
			must(t, operate(with))
			if got := lastAudit(t, env); got.Action != action || got.Decision != audit.Allowed || got.Version == 0 {
				t.Errorf("audit row of %s: %+v", action, got)
			}
		}
	}
}

func TestIdempotencyKeyRepeatsTheAnswer(t *testing.T) {
	now := time.Now()
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: func() time.Time { return now }})
	replica := env.Open(t)
	ctx := t.Context()
	req := secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "one"), IdempotencyKey: "k", ExpectedVersion: new(int64(0))}
	first, err := env.Engine.Put(ctx, env.Admin, req)
	must(t, err)
	second, err := replica.Put(ctx, env.Admin, req)
	must(t, err)
	if diff := cmp.Diff(first, second, cmp.AllowUnexported(secret.Path{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the repeated answer (-first +second):\n%s", diff)
	}
	if got := lastAudit(t, env); got.Decision != audit.Allowed || got.Version != 1 || !strings.Contains(got.Rule, "repeated") {
		t.Errorf("audit row: %+v", got)
	}
	wantVersions(t, env, "1 live current")

	for name, change := range map[string]func(*secret.PutRequest){
		"value":       func(r *secret.PutRequest) { r.Value = vaulttest.Value(t, "two") },
		"description": func(r *secret.PutRequest) { r.Description = new("x") },
		"expected":    func(r *secret.PutRequest) { r.ExpectedVersion = nil },
		"pending":     func(r *secret.PutRequest) { r.Pending = true },
		"maximum":     func(r *secret.PutRequest) { r.MaxVersions = new(3) },
	} {
		other := req
		change(&other)
		_, err := replica.Put(ctx, env.Admin, other)
		if !errors.Is(err, secret.ErrKeyReused) || !errors.Is(err, secret.ErrConflict) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	req.ExpectedVersion = nil
	_, err = env.Engine.Rotate(ctx, env.Admin, req)
	wantError(t, err, secret.ErrKeyReused)

	stranger := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, stranger, "**")
	if m, err := env.Engine.Put(ctx, stranger, req); err != nil || m.Version != 2 {
		t.Errorf("the key of another caller: %+v, %v", m, err)
	}
	now = now.Add(secret.IdempotencyKeyLife)
	if m, err := env.Engine.Put(ctx, env.Admin, req); err != nil || m.Version != 3 {
		t.Errorf("the key a day later: %+v, %v", m, err)
	}
	for _, key := range []string{strings.Repeat("k", 256), "a\nb", "ä"} {
		req.IdempotencyKey = key
		_, err := env.Engine.Put(ctx, env.Admin, req)
		wantError(t, err, secret.ErrInvalid)
	}
}

// TestConcurrentDuplicatesWriteOnce on two replicas, also of a path that is new.
func TestConcurrentDuplicatesWriteOnce(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	replicas := []*vault.Engine{env.Engine, env.Open(t)}
	for version := int64(1); version <= 5; version++ {
		req := secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "v"), IdempotencyKey: fmt.Sprint("write ", version)}
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				if m, err := replicas[i%2].Put(t.Context(), env.Admin, req); err != nil || m.Version != version {
					t.Errorf("duplicate %d of write %d: version %d, %v", i, version, m.Version, err)
				}
			})
		}
		wait.Wait()
	}
}

// TestOldRowsPutBackAfterAmendments keeps the rows from before a change that writes
// no version, and puts them back after it.
func TestOldRowsPutBackAfterAmendments(t *testing.T) {
	const heads = `UPDATE secrets s SET current_version = k.current_version, previous_version = k.previous_version, pending_version = k.pending_version,
		first_version = k.first_version, last_version = k.last_version, revision = k.revision, amended_revision = k.amended_revision,
		description = k.description, tags = k.tags, allowed_services = k.allowed_services, allowed_environments = k.allowed_environments,
		deleted_at = k.deleted_at, destroyed_at = k.destroyed_at, mac = k.mac FROM kept_heads k`
	const versions = `UPDATE secret_versions v SET wrapped_key = k.wrapped_key, box = k.box, deleted_at = k.deleted_at, destroyed_at = k.destroyed_at,
		amended_revision = k.amended_revision, mac = k.mac FROM kept_versions k WHERE k.secret_id = v.secret_id AND k.version = v.version`
	for name, c := range map[string]struct {
		before, change func(*testing.T, *vaulttest.Env) error
		putBack        string
		version        int64
	}{
		"rollback": {change: func(t *testing.T, env *vaulttest.Env) error {
			_, err := env.Engine.Rollback(t.Context(), env.Admin, ref(t, "a/b", 0), nil)
			return err
		}, putBack: heads},
		"promote": {change: func(t *testing.T, env *vaulttest.Env) error {
			_, err := env.Engine.Promote(t.Context(), env.Admin, vaulttest.Path(t, "a/b"), nil)
			return err
		}, putBack: heads},
		"undelete": {before: func(t *testing.T, env *vaulttest.Env) error {
			return env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "a/b"))
		}, change: func(t *testing.T, env *vaulttest.Env) error {
			_, err := env.Engine.Undelete(t.Context(), env.Admin, vaulttest.Path(t, "a/b"))
			return err
		}, putBack: heads},
		"destroy": {change: func(t *testing.T, env *vaulttest.Env) error {
			return env.Engine.Destroy(t.Context(), env.Admin, vaulttest.Path(t, "a/b"))
		}, putBack: heads + "; " + versions},
		"deleted version": {change: func(t *testing.T, env *vaulttest.Env) error {
			return env.Engine.DeleteVersions(t.Context(), env.Admin, vaulttest.Path(t, "a/b"), 1)
		}, putBack: versions, version: 1},
		"destroyed version": {change: func(t *testing.T, env *vaulttest.Env) error {
			return env.Engine.DestroyVersions(t.Context(), env.Admin, vaulttest.Path(t, "a/b"), 1)
		}, putBack: versions, version: 1},
		"undeleted version": {before: func(t *testing.T, env *vaulttest.Env) error {
			return env.Engine.DeleteVersions(t.Context(), env.Admin, vaulttest.Path(t, "a/b"), 1)
		}, change: func(t *testing.T, env *vaulttest.Env) error {
			return env.Engine.UndeleteVersions(t.Context(), env.Admin, vaulttest.Path(t, "a/b"), 1)
		}, putBack: versions, version: 1},
	} {
		t.Run(name, func(t *testing.T) {
			env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
			env.Put(t, "a/b", "one")
			env.Put(t, "a/b", "two")
			putPending(t, env, "three")
			if c.before != nil {
				must(t, c.before(t, env))
			}
			exec(t, env, `CREATE TABLE kept_heads AS SELECT * FROM secrets; CREATE TABLE kept_versions AS SELECT * FROM secret_versions`)
			must(t, c.change(t, env))
			exec(t, env, c.putBack)
			_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", c.version))
			wantError(t, err, secret.ErrTampered)
		})
	}
}

// Who may list a path learns that it is deleted, with what would come back; to others, and for a path that is live or
// was never there, the answer is the same.
func TestDeletedVersions(t *testing.T) {
	env := vaulttest.Start(t)
	env.Sync(t, "default")
	env.AllowAll(t, env.Admin, "**")
	path := vaulttest.Path(t, "a/b")
	versions := func(caller secret.Caller, of string) ([]secret.Version, error) {
		return env.Engine.DeletedVersions(t.Context(), caller, vaulttest.Path(t, of))
	}
	shared := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "payments", Name: "api", Environment: "production"}
	_, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{
		Path: path, Value: vaulttest.Value(t, "one"), Access: &secret.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"}},
	})
	must(t, err)
	env.Put(t, "a/b", "two")
	if _, err := versions(env.Admin, "a/b"); !errors.Is(err, secret.ErrDenied) {
		t.Errorf("a path that is live: %v", err)
	}
	must(t, env.Engine.Delete(t.Context(), env.Admin, path))
	got, err := versions(env.Admin, "a/b")
	must(t, err)
	if len(got) != 2 || got[0].Version != 2 || got[0].State != secret.Live || !cmp.Equal(got[0].Labels, []secret.Label{secret.Current}) {
		t.Errorf("the versions are %+v", got)
	}
	if _, err := versions(shared, "a/b"); !errors.Is(err, secret.ErrDenied) {
		t.Errorf("whom the deleted path's access policy allowed: %v", err)
	}
	if _, err := versions(env.Admin, "a/none"); !errors.Is(err, secret.ErrDenied) {
		t.Errorf("a path that never was: %v", err)
	}
	must(t, env.Engine.Destroy(t.Context(), env.Admin, path))
	got, err = versions(env.Admin, "a/b")
	must(t, err)
	if len(got) != 2 || got[0].State != secret.Destroyed {
		t.Errorf("the versions are %+v", got)
	}
}
