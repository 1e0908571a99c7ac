package vault_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/address"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func present(t *testing.T, engine *vault.Engine) changes.Position {
	t.Helper()
	position, err := engine.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return position
}

// consumer keeps what it was given, and the position that came with it.
type consumer struct {
	feed
	position changes.Position
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // what following ended with, when done is closed
}

// consume follows engine from a position on until end is called, or the test ends.
func consume(t *testing.T, engine *vault.Engine, from changes.Position) *consumer {
	t.Helper()
	c := &consumer{feed: feed{grown: make(chan struct{}, 1)}, position: from, done: make(chan struct{})}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(t.Context())
	go func() {
		defer close(c.done)
		c.err = engine.FollowFrom(ctx, from, func(ctx context.Context, batch []changes.Change, next changes.Position) error {
			c.mu.Lock()
			c.position = next
			c.mu.Unlock()
			return c.handle(ctx, batch)
		})
	}()
	t.Cleanup(func() { _ = c.end() })
	return c
}

func (c *consumer) end() error {
	c.cancel()
	<-c.done
	return c.err
}

// ended waits for following to end by itself.
func (c *consumer) ended(t *testing.T) error {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatalf("following did not end in %v", patience)
	}
	return c.err
}

func (c *consumer) at() changes.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.position
}

// TestFollowFromGoesOnWhereItWas: across restarts, on other replicas, with a
// transaction that was open all the time, each change comes; and once, as nothing
// fails.
func TestFollowFromGoesOnWhereItWas(t *testing.T) {
	t.Parallel() // it mostly waits
	env := vaulttest.Start(t)
	env.Put(t, "before/one", "v")
	position := present(t, env.Engine)
	tx, err := connect(t, env).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO changes (kind, path, version) VALUES ('put', 'late/one', 7)`); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for i := range 3 {
		env.Put(t, "away/one", "v") // while nobody follows
		c := consume(t, env.Open(t), position)
		c.want(t, fmt.Sprintf("put away/one %d", i+1))
		env.Put(t, "there/one", "v")
		c.want(t, fmt.Sprintf("put there/one %d", i+1))
		if i == 2 {
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.want(t, "put late/one 7")
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		if order, err := env.Engine.ComparePositions(position, c.at()); err != nil || order >= 0 {
			t.Errorf("an earlier position compares as %d, %v", order, err)
		}
		position = c.at()
		seen = append(seen, c.seen...)
	}
	want := []string{"put away/one 1", "put there/one 1", "put away/one 2", "put there/one 2", "put away/one 3", "put there/one 3", "put late/one 7"}
	if !slices.Equal(seen, want) {
		t.Errorf("delivered %q, want %q", seen, want)
	}
}

// TestPresentPositionThenListMissesNothing: while writers write.
func TestPresentPositionThenListMissesNothing(t *testing.T) {
	env := vaulttest.Start(t)
	const writers, writes = 4, 10
	var running sync.WaitGroup
	for i := range writers {
		running.Go(func() {
			for range writes {
				env.Put(t, fmt.Sprintf("race/%d", i), "v")
			}
		})
	}
	position := present(t, env.Engine)
	listed, err := env.Engine.List(t.Context(), env.Admin, secret.Prefix{}, secret.Path{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := consume(t, env.Engine, position)
	running.Wait()
	known := map[string]int64{}
	for _, m := range listed {
		known[m.Path.String()] = m.Version
	}
	for i := range writers {
		path := fmt.Sprintf("race/%d", i)
		for version := known[path] + 1; version <= writes; version++ {
			c.want(t, fmt.Sprintf("put %s %d", path, version))
		}
	}
}

func TestPositionsThatAreLost(t *testing.T) {
	env, other := vaulttest.Start(t), vaulttest.Start(t)
	fresh := present(t, env.Engine)
	followFor := func(limit time.Duration, engine *vault.Engine, from changes.Position) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return engine.FollowFrom(ctx, from, func(context.Context, []changes.Change, changes.Position) error { return nil })
	}
	follow := func(engine *vault.Engine, from changes.Position) error { return followFor(patience, engine, from) }
	for name, from := range map[string]changes.Position{
		"none": "", "malformed": "yesterday", "of another vault": present(t, other.Engine), "forged": fresh[:len(fresh)-4] + "AAAA", "long": changes.Position(strings.Repeat("x", 1<<20)),
	} {
		err := follow(env.Engine, from)
		if wantError(t, err, secret.ErrPositionLost); err != nil && len(err.Error()) > 400 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
		if _, err := env.Engine.ComparePositions(from, fresh); !errors.Is(err, secret.ErrPositionLost) {
			t.Errorf("%s: compared, with error %v", name, err)
		}
	}

	// Too old: the changes after it are removed when somebody follows.
	exec(t, env, `INSERT INTO changes (kind, path, version, written_at) SELECT 'put', 'old/one', n, clock_timestamp() - interval '8 days' FROM generate_series(1, 3) n`)
	exec(t, env, `INSERT INTO changes (kind, path, version, written_at) VALUES ('put', 'old/one', 4, clock_timestamp() - interval '8 days')`)
	exec(t, env, `DELETE FROM changes WHERE written_at > clock_timestamp() - interval '1 day'`) // the vault began eight days ago
	exec(t, env, `INSERT INTO changes (kind, path, version, written_at) VALUES ('put', 'old/one', 5, clock_timestamp() - interval '8 days')`)
	old := present(t, env.Engine)
	exec(t, env, `INSERT INTO changes (kind, path, version, written_at) VALUES ('put', 'old/one', 6, clock_timestamp() - interval '8 days')`)
	newest := present(t, env.Engine)
	env.Put(t, "new/one", "v")
	c := consume(t, env.Engine, newest)
	c.want(t, "put new/one 1") // of eight quiet days nothing is lost
	// One that is not lost yet is followed until the time is over, and looked at again.
	eventually(t, "the old changes are removed", func() bool {
		return errors.Is(followFor(patience/20, env.Engine, old), secret.ErrPositionLost)
	})
	if err := follow(env.Engine, old); !strings.Contains(err.Error(), "list everything") || !strings.Contains(err.Error(), "removed") {
		t.Errorf("the error does not say what happened and what to do: %v", err)
	}
	if err := c.end(); err != nil {
		t.Errorf("the consumer that stood behind them: %v", err)
	}
}

// TestFollowThroughAPostgresFailoverThatLosesCommits: a standby that never had the
// newest changes is promoted, and gives their transaction ids out again. Who follows
// with a position is told, and who follows without one looks at everything.
func TestFollowThroughAPostgresFailoverThatLosesCommits(t *testing.T) {
	t.Parallel() // it mostly waits
	primary := testkit.PostgresServer(t)
	env := vaulttest.StartWith(t, vaulttest.Config{DSN: primary.DSN(), NoRedis: true})
	env.Put(t, "kept/one", "v")
	kept := present(t, env.Engine)
	standby := testkit.PostgresReplica(t, primary)
	if err := standby.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	database := address.Files{URL: filepath.Join(t.TempDir(), "url")}
	writeSwapped(t, database.URL, primary.DSN())
	engine := openFiles(t, env, database, address.Files{})
	f := follow(t, env, engine, nil)
	c := consume(t, engine, kept)
	for range 5 {
		env.Put(t, "gone/one", "v")
	}
	f.want(t, "put gone/one 5")
	c.want(t, "put gone/one 5")
	gone := c.at()

	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Before anybody looks, the ids are as high as they were.
	after := (&vaulttest.Env{DSN: standby.DSN(), Root: env.Root, Admin: env.Admin})
	after.Engine = after.Open(t)
	for range 30 {
		after.Put(t, "new/one", "v")
	}
	err := after.Engine.FollowFrom(t.Context(), gone, func(context.Context, []changes.Change, changes.Position) error {
		t.Error("changes were delivered from a lost place")
		return nil
	})
	wantError(t, err, secret.ErrPositionLost)
	resumed := consume(t, after.Engine, kept)
	resumed.want(t, "put new/one 30")
	if !resumed.has("put new/one 1") {
		t.Error("from a place that the standby has, a change did not come")
	}
	writeSwapped(t, database.URL, standby.DSN())
	f.want(t, "policy  0") // anything may be different
	f.want(t, "put new/one 30")
	if err := c.ended(t); !errors.Is(err, secret.ErrPositionLost) {
		t.Errorf("the consumer with a position ended with %v", err)
	}
}

// TestPoliciesOfEachClusterReachFollowers: by position too.
func TestPoliciesOfEachClusterReachFollowers(t *testing.T) {
	env := vaulttest.Start(t)
	position := present(t, env.Engine)
	replace := func(cluster string) {
		t.Helper()
		if _, err := env.Engine.ReplacePolicies(t.Context(), cluster, []policy.Policy{}); err != nil {
			t.Fatal(err)
		}
	}
	replace("east")
	replace("west")
	replace("west") // the same again is no change
	var clusters []string
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := env.Engine.FollowFrom(ctx, position, func(_ context.Context, batch []changes.Change, _ changes.Position) error {
		for _, change := range batch {
			if change.Kind != changes.Policy || change.CommittedAt.IsZero() || time.Since(change.CommittedAt) > time.Minute {
				t.Errorf("delivered %+v", change)
			}
			if clusters = append(clusters, change.Cluster); len(clusters) == 2 {
				cancel()
			}
		}
		return nil
	})
	if err != nil || !slices.Equal(clusters, []string{"east", "west"}) {
		t.Errorf("policies of %q, %v", clusters, err)
	}
}
