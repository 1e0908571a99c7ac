package vault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// never is the interval of a replica that sleeps: it neither looks for a changed
// keyset nor says that it is there.
const never = 24 * time.Hour

// openReplica opens another engine, which looks at the keyset every so often.
func openReplica(t testing.TB, env *vaulttest.Env, name string, every time.Duration) *vault.Engine {
	t.Helper()
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
		DatabaseURL: env.DSN, RedisURL: env.RedisURL, Root: env.Root, Replica: name, KeyringEvery: every,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatalf("open an engine: %v", err)
	}
	t.Cleanup(closeEngine)
	return engine
}

// forget makes replica name one that has not been seen for long.
func forget(t testing.TB, env *vaulttest.Env, name string) {
	t.Helper()
	exec(t, env, `UPDATE replicas SET seen_at = seen_at - interval '1 minute' WHERE name = $1`, name)
}

func status(t testing.TB, env *vaulttest.Env) vault.KeyringStatus {
	t.Helper()
	s, err := env.Engine.KeyringStatus(t.Context(), env.Admin)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// primary is the key in use, and states is what the status says, such as "primary 3, retired 0":
// state and versions of each key.
func primary(t testing.TB, env *vaulttest.Env) keyring.KeyID {
	t.Helper()
	for _, k := range status(t, env).Keys {
		if k.State == vault.KeyPrimary {
			return k.ID
		}
	}
	t.Fatal("no key is primary")
	return 0
}

func states(t testing.TB, env *vaulttest.Env) string {
	t.Helper()
	var found []string
	for _, k := range status(t, env).Keys {
		found = append(found, fmt.Sprintf("%s %d", k.State, k.Versions))
	}
	return strings.Join(found, ", ")
}

// rotate adds a key and promotes it.
func rotate(t testing.TB, e *vault.Engine, caller secret.Caller) keyring.KeyID {
	t.Helper()
	id, err := e.AddKey(t.Context(), caller)
	if err != nil {
		t.Fatalf("add a key: %v", err)
	}
	if err := e.PromoteKey(t.Context(), caller, id); err != nil {
		t.Fatalf("promote: %v", err)
	}
	return id
}

func rewrapAll(t testing.TB, e *vault.Engine, caller secret.Caller) (rewrapped int64) {
	t.Helper()
	for {
		p, err := e.Rewrap(t.Context(), caller)
		if err != nil {
			t.Fatalf("rewrap: %v", err)
		}
		rewrapped += p.Rewrapped
		if p.Remaining == p.Failed {
			return rewrapped
		}
	}
}

// destroy retires and destroys a key; versions that a late writer wrapped by it are
// rewrapped.
func destroy(t testing.TB, e *vault.Engine, caller secret.Caller, id keyring.KeyID) {
	t.Helper()
	if err := e.RetireKey(t.Context(), caller, id); err != nil {
		t.Fatalf("retire: %v", err)
	}
	for {
		err := e.DestroyKey(t.Context(), caller, id)
		if err == nil {
			return
		}
		if !errors.Is(err, secret.ErrKeyState) {
			t.Fatalf("destroy: %v", err)
		}
		rewrapAll(t, e, caller)
	}
}

func TestKeyGoesItsWay(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "one")
	env.Put(t, "a/b", "two")
	env.Put(t, "a/gone", "v")
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "a/gone")); err != nil {
		t.Fatal(err)
	}
	old := primary(t, env)
	steps := []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, "primary 3"},
		{func() error { _, err := env.Engine.AddKey(t.Context(), env.Admin); return err }, "primary 3, pending 0"},
		{func() error { return env.Engine.PromoteKey(t.Context(), env.Admin, status(t, env).Keys[1].ID) }, "enabled 3, primary 0"},
		{func() error { env.Put(t, "a/b", "three"); return nil }, "enabled 3, primary 1"},
		{func() error { rewrapAll(t, env.Engine, env.Admin); return nil }, "enabled 0, primary 4"},
		{func() error { return env.Engine.RetireKey(t.Context(), env.Admin, old) }, "retired 0, primary 4"},
		{func() error { return env.Engine.DestroyKey(t.Context(), env.Admin, old) }, "primary 4"},
		{func() error { return env.Engine.DestroyKey(t.Context(), env.Admin, old) }, "primary 4"},
	}
	for i, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if got := states(t, env); got != step.want {
			t.Fatalf("after step %d: %s; want %s", i, got, step.want)
		}
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 1), "one")
	}
	if s := status(t, env); s.Revision != 5 || len(s.Findings) != 0 {
		t.Errorf("revision %d, findings %v", s.Revision, s.Findings)
	}
	wantRead(t, env.Open(t), env.Admin, ref(t, "a/b", 0), "three")
}

func TestKeyStatesAreKept(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "one")
	first := primary(t, env)
	second := rotate(t, env.Engine, env.Admin)
	pending, err := env.Engine.AddKey(t.Context(), env.Admin)
	if err != nil {
		t.Fatal(err)
	}
	e, ctx, admin := env.Engine, t.Context(), env.Admin
	for name, test := range map[string]struct {
		err, want error
		says      string
	}{
		"retire the primary":    {e.RetireKey(ctx, admin, second), secret.ErrKeyState, "promote another"},
		"retire a pending":      {e.RetireKey(ctx, admin, pending), secret.ErrKeyState, "never used"},
		"destroy the primary":   {e.DestroyKey(ctx, admin, second), secret.ErrKeyState, "is primary"},
		"destroy an enabled":    {e.DestroyKey(ctx, admin, first), secret.ErrKeyState, "is enabled"},
		"destroy one in use":    {errors.Join(e.RetireKey(ctx, admin, first), e.DestroyKey(ctx, admin, first)), secret.ErrKeyState, "1 versions"},
		"promote a retired":     {e.PromoteKey(ctx, admin, first), secret.ErrKeyState, "is retired"},
		"promote none":          {e.PromoteKey(ctx, admin, 1), secret.ErrInvalid, "no key 1"},
		"retire none":           {e.RetireKey(ctx, admin, 1), secret.ErrInvalid, "no key 1"},
		"promote the primary":   {e.PromoteKey(ctx, admin, second), nil, ""},
		"retire once more":      {e.RetireKey(ctx, admin, first), nil, ""},
		"destroy a pending key": {e.DestroyKey(ctx, admin, pending), nil, ""},
	} {
		if !errors.Is(test.err, test.want) || test.err != nil && !strings.Contains(test.err.Error(), test.says) {
			t.Errorf("%s: got %v; want %v that says %q", name, test.err, test.want, test.says)
		}
	}
	wantRead(t, e, admin, ref(t, "a/b", 0), "one")
}

func TestKeyringIsForWhoMay(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	api := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, api, "**")
	env.AllowAll(t, api, "*/*")
	id := primary(t, env)
	calls := map[audit.Action]func() error{
		audit.KeyringStatus: func() error { _, err := env.Engine.KeyringStatus(t.Context(), api); return err },
		audit.KeyAdd:        func() error { _, err := env.Engine.AddKey(t.Context(), api); return err },
		audit.KeyPromote:    func() error { return env.Engine.PromoteKey(t.Context(), api, id) },
		audit.KeyRetire:     func() error { return env.Engine.RetireKey(t.Context(), api, id) },
		audit.KeyDestroy:    func() error { return env.Engine.DestroyKey(t.Context(), api, id) },
		audit.Rewrap:        func() error { _, err := env.Engine.Rewrap(t.Context(), api); return err },
	}
	for action, call := range calls {
		wantError(t, call(), secret.ErrDenied)
		if got := lastAudit(t, env); got.Action != action || got.Decision != audit.Denied || got.Path != "sys/keyring" {
			t.Errorf("%s: audit row %+v", action, got)
		}
	}
	env.Allow(t, api, "sys/keyring", policy.Read)
	for action, call := range calls {
		err := call()
		if action == audit.KeyringStatus && err != nil {
			t.Errorf("%s with the read capability: %v", action, err)
		}
		if action != audit.KeyringStatus {
			wantError(t, err, secret.ErrDenied)
		}
	}
}

// TestRotationUnderLoad: nobody who reads or writes notices a rotation, a rewrap by
// two replicas at once and the destruction of the old key.
func TestRotationUnderLoad(t *testing.T) {
	env := vaulttest.Start(t)
	engines := []*vault.Engine{openReplica(t, env, "one", 20*time.Millisecond), openReplica(t, env, "two", 20*time.Millisecond)}
	const paths = 8
	for i := range paths {
		for range 20 {
			env.Put(t, fmt.Sprintf("load/%d", i), fmt.Sprintf("value of %d", i))
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var reads, writes atomic.Int64
	for i := range paths {
		engine, value := engines[i%2], fmt.Sprintf("value of %d", i)
		path := fmt.Sprintf("load/%d", i)
		load.Go(func() {
			for version := int64(0); ctx.Err() == nil; version = (version + 1) % 20 {
				got, err := engine.Read(t.Context(), env.Admin, ref(t, path, version))
				if err != nil || string(got.Value.Bytes()) != value {
					t.Errorf("read %s version %d: %v", path, version, err)
				}
				reads.Add(1)
			}
		})
		load.Go(func() {
			for ctx.Err() == nil {
				_, err := engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, path), Value: vaulttest.Value(t, value)})
				if err != nil {
					t.Errorf("put %s: %v", path, err)
				}
				writes.Add(1)
			}
		})
	}
	for range 3 {
		old := primary(t, env)
		rotate(t, engines[0], env.Admin)
		var rewraps sync.WaitGroup
		for _, engine := range engines {
			rewraps.Go(func() { rewrapAll(t, engine, env.Admin) })
		}
		rewraps.Wait()
		destroy(t, engines[1], env.Admin, old)
	}
	stop()
	load.Wait()
	s := status(t, env)
	if len(s.Keys) != 1 || s.Keys[0].Versions != paths*20+writes.Load() || len(s.Findings) != 0 {
		t.Errorf("after three rotations: %+v; %d writes", s, writes.Load())
	}
	if reads.Load() == 0 || writes.Load() == 0 {
		t.Errorf("%d reads and %d writes: no load", reads.Load(), writes.Load())
	}
}

// TestSleepingReplica: a replica that sleeps through a rotation serves reads and
// writes when it wakes up, also when the key that it has is destroyed.
func TestSleepingReplica(t *testing.T) {
	t.Parallel() // it mostly waits
	env := vaulttest.Start(t)
	sleeper := openReplica(t, env, "sleeper", never)
	env.Put(t, "a/b", "one")
	old := primary(t, env)

	id, err := env.Engine.AddKey(t.Context(), env.Admin)
	if err != nil {
		t.Fatal(err)
	}
	err = env.Engine.PromoteKey(t.Context(), env.Admin, id)
	if !errors.Is(err, secret.ErrKeyState) || !strings.Contains(err.Error(), "sleeper") {
		t.Errorf("promote while the sleeper is believed to be there: %v", err)
	}
	forget(t, env, "sleeper")
	if err := env.Engine.PromoteKey(t.Context(), env.Admin, id); err != nil {
		t.Fatal(err)
	}

	// It wraps by the old key: nothing is lost, and the key cannot be destroyed.
	if _, err := sleeper.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/late"), Value: vaulttest.Value(t, "late")}); err != nil {
		t.Fatal(err)
	}
	if got := states(t, env); got != "enabled 2, primary 0" {
		t.Errorf("states: %s", got)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/late", 0), "late")

	rewrapAll(t, env.Engine, env.Admin)
	destroy(t, env.Engine, env.Admin, old)
	if _, err := sleeper.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "two")}); err != nil {
		t.Errorf("a write of the replica that has the destroyed key only: %v", err)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 2), "two")
	if got := states(t, env); got != "primary 3" {
		t.Errorf("states: %s", got)
	}

	reader := openReplica(t, env, "reader", never)
	forget(t, env, "reader")
	forget(t, env, "sleeper")
	id = rotate(t, env.Engine, env.Admin)
	env.Put(t, "a/b", "three")
	rewrapAll(t, env.Engine, env.Admin)
	for version, want := range map[int64]string{1: "one", 2: "two", 3: "three"} {
		wantRead(t, reader, env.Admin, ref(t, "a/b", version), want)
	}
	if got := primary(t, env); got != id {
		t.Errorf("primary %d, want %d", got, id)
	}
}

// TestOldKeysetPutBack: a replica that has seen the newer keyset goes on with it, and
// says what it found.
func TestOldKeysetPutBack(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "one")
	exec(t, env, `CREATE TABLE kept AS SELECT wrapped_keyset FROM vault; CREATE TABLE kept_keys AS SELECT * FROM key_encryption_keys`)
	rotate(t, env.Engine, env.Admin)
	env.Put(t, "a/b", "two")
	exec(t, env, `UPDATE vault SET wrapped_keyset = (SELECT wrapped_keyset FROM kept)`)
	for name, call := range map[string]func() error{
		"status": func() error { _, err := env.Engine.KeyringStatus(t.Context(), env.Admin); return err },
		"add":    func() error { _, err := env.Engine.AddKey(t.Context(), env.Admin); return err },
		"rewrap": func() error { _, err := env.Engine.Rewrap(t.Context(), env.Admin); return err },
	} {
		if err := call(); !errors.Is(err, secret.ErrTampered) || !strings.Contains(err.Error(), "older") {
			t.Errorf("%s: %v", name, err)
		}
		if got := lastAudit(t, env); got.Decision != audit.Failed || !strings.Contains(got.Rule, "older") {
			t.Errorf("%s: audit row %+v", name, got)
		}
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 1), "one")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 2), "two")
}
