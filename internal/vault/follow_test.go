package vault_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// patience is how long a change may take to arrive when Redis does not wake the
// follower: two polls on a loaded machine.
const patience = 20 * time.Second

// feed collects what one follower is given.
type feed struct {
	mu      sync.Mutex
	seen    []string
	grown   chan struct{}
	refuses func([]changes.Change) error
}

// follow follows engine until the test ends, and returns when the follower has
// begun: when it has the sentinel.
func follow(t *testing.T, env *vaulttest.Env, engine *vault.Engine, refuses func([]changes.Change) error) *feed {
	t.Helper()
	f := &feed{grown: make(chan struct{}, 1), refuses: refuses}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- engine.Follow(ctx, f.handle) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	env.Put(t, "sentinel/began", "v")
	f.want(t, "put sentinel/began 1")
	return f
}

func (f *feed) handle(_ context.Context, batch []changes.Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses != nil {
		if err := f.refuses(batch); err != nil {
			return err
		}
	}
	for _, c := range batch {
		f.seen = append(f.seen, fmt.Sprintf("%s %s %d", c.Kind, c.Path, c.Version))
	}
	select {
	case f.grown <- struct{}{}:
	default:
	}
	return nil
}

func (f *feed) has(change string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.seen, change)
}

// want waits for change and returns how long it took.
func (f *feed) want(t *testing.T, change string) time.Duration {
	t.Helper()
	begin := time.Now()
	deadline := time.After(patience)
	for !f.has(change) {
		select {
		case <-f.grown:
		case <-deadline:
			f.mu.Lock()
			defer f.mu.Unlock()
			t.Fatalf("%q was not delivered in %v; delivered: %q", change, patience, f.seen)
		}
	}
	return time.Since(begin)
}

func TestFollowDeliversEveryKind(t *testing.T) {
	env := vaulttest.Start(t)
	f := follow(t, env, env.Open(t), nil)
	path := vaulttest.Path(t, "a/b")
	env.Put(t, "a/b", "v")
	f.want(t, "put a/b 1")
	for i := range 3 { // each right after the last was read: the next poll is 5 s away
		env.Put(t, "a/c", "v")
		if took := f.want(t, fmt.Sprintf("put a/c %d", i+1)); took > 3*time.Second {
			t.Errorf("with Redis a change took %v", took)
		}
	}
	if _, err := env.Engine.Rotate(t.Context(), env.Admin, secret.PutRequest{Path: path}); err != nil {
		t.Fatal(err)
	}
	f.want(t, "rotate a/b 2")
	if err := env.Engine.Delete(t.Context(), env.Admin, path); err != nil {
		t.Fatal(err)
	}
	f.want(t, "delete a/b 2")
	if _, err := env.Engine.ReplacePolicies(t.Context(), "new-cluster", []policy.Policy{}); err != nil {
		t.Fatal(err)
	}
	f.want(t, "policy  0")
}

// TestFollowSkipsNoLateCommit holds a transaction open that wrote before another
// one that commits: the other is not delayed, and the first arrives when it
// commits.
func TestFollowSkipsNoLateCommit(t *testing.T) {
	env := vaulttest.Start(t)
	f := follow(t, env, env.Engine, nil)
	tx, err := connect(t, env).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO changes (kind, path, version) VALUES ('put', 'late/one', 7)`); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		env.Put(t, "early/one", "v")
		f.want(t, fmt.Sprintf("put early/one %d", i+1))
	}
	if f.has("put late/one 7") {
		t.Fatal("an uncommitted change was delivered")
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.want(t, "put late/one 7") // nobody announced it: the poll finds it
	env.Put(t, "early/one", "v")
	f.want(t, "put early/one 6")
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range 6 {
		change := fmt.Sprintf("put early/one %d", i+1)
		n := 0
		for _, seen := range f.seen {
			if seen == change {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%q was delivered %d times", change, n)
		}
	}
}

func TestFollowSurvivesRedis(t *testing.T) {
	t.Parallel() // it mostly waits
	server := testkit.RedisServer(t)
	env := vaulttest.StartWith(t, vaulttest.Config{RedisURL: server.URL()})
	f := follow(t, env, env.Open(t), nil)

	if err := server.FlushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	env.Put(t, "a/flushed", "v")
	f.want(t, "put a/flushed 1")

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	env.Put(t, "a/down", "v")
	if took := f.want(t, "put a/down 1"); took > 8*time.Second {
		t.Errorf("with Redis down a change took %v", took)
	}

	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	env.Put(t, "a/up", "v")
	f.want(t, "put a/up 1")
	eventually(t, "Redis wakes the follower again", func() bool {
		m := env.Put(t, "a/again", "v")
		return f.want(t, fmt.Sprintf("put a/again %d", m.Version)) < 500*time.Millisecond
	})
}

// TestFollowNeedsNoAnnouncement loses every event, and has some forged.
func TestFollowNeedsNoAnnouncement(t *testing.T) {
	t.Parallel() // it mostly waits
	env := vaulttest.Start(t)
	f := follow(t, env, env.Open(t), nil)
	client := redisClient(t, env)
	if err := client.Do(t.Context(), "XADD", changes.Stream, "*", "kind", "rotate", "path", "forged/path", "version", "9").Err(); err != nil {
		t.Fatal(err)
	}
	exec(t, env, `INSERT INTO changes (kind, path, version) VALUES ('put', 'silent/one', 1), ('put', '../no-path', 1)`)
	f.want(t, "put silent/one 1")
	if f.has("rotate forged/path 9") {
		t.Error("a forged event was believed")
	}
}

func TestFollowGivesARefusedBatchAgain(t *testing.T) {
	env := vaulttest.Start(t)
	failures := 3
	f := follow(t, env, env.Engine, func(batch []changes.Change) error {
		for _, c := range batch {
			if c.Path.String() == "a/b" && failures > 0 {
				failures--
				return errors.New("not now")
			}
		}
		return nil
	})
	env.Put(t, "a/b", "v")
	env.Put(t, "a/c", "v")
	f.want(t, "put a/b 1")
	f.want(t, "put a/c 1")
}

func TestFollowWaitsForPostgres(t *testing.T) {
	server := testkit.PostgresServer(t)
	env := vaulttest.StartWith(t, vaulttest.Config{DSN: server.DSN()})
	f := follow(t, env, env.Engine, nil)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := env.Engine.Metadata(t.Context(), env.Admin, vaulttest.Path(t, "a/b"))
	wantError(t, err, secret.ErrUnavailable)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the engine writes again", func() bool {
		_, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/after")})
		return err == nil
	})
	f.want(t, "put a/after 1")
}

// TestFollowBeginsALittleEarlier: a change shortly before is delivered too.
func TestFollowBeginsALittleEarlier(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "before/one", "v")
	f := follow(t, env, env.Engine, nil)
	f.want(t, "put before/one 1")
}

// TestFollowTakesManyChangesAtOnce has more rows than a batch, written by one
// transaction while the follower stands behind an open one.
func TestFollowTakesManyChangesAtOnce(t *testing.T) {
	env := vaulttest.Start(t)
	f := follow(t, env, env.Engine, nil)
	holder, err := connect(t, env).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(t.Context(), `SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	exec(t, env, `INSERT INTO changes (kind, path, version)
		SELECT 'put', CASE WHEN n % 100 = 50 THEN '../no-path' ELSE 'many/' || n END, n FROM generate_series(1, 3500) n`)
	f.want(t, "put many/3500 3500")
	if err := holder.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A full batch with rows that are not the engine's is still not all there is.
	exec(t, env, `INSERT INTO changes (kind, path, version)
		SELECT 'put', CASE WHEN n % 100 = 50 THEN '../no-path' ELSE 'more/' || n END, n FROM generate_series(1, 3500) n`)
	f.want(t, "put more/3500 3500")
	f.mu.Lock()
	defer f.mu.Unlock()
	distinct := slices.Clone(f.seen)
	slices.Sort(distinct)
	if n := len(slices.Compact(distinct)); n < 2*3465 || len(f.seen) != n {
		t.Errorf("%d deliveries of %d changes", len(f.seen), n)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}
