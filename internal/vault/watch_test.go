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

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// watching is a watch under way.
type watching struct {
	feed
	position changes.Position
	began    chan struct{} // closed with the first position
	cancel   context.CancelFunc
	done     chan struct{}
	err      error
}

// watch watches below prefix as caller, and returns when the first position has come.
func watch(t *testing.T, engine *vault.Engine, caller secret.Caller, prefix string, from changes.Position) *watching {
	t.Helper()
	below, err := secret.ParsePrefix(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return watchScope(t, engine, caller, vault.Scope{Prefix: below}, from)
}

func watchScope(t *testing.T, engine *vault.Engine, caller secret.Caller, scope vault.Scope, from changes.Position) *watching {
	t.Helper()
	w := &watching{feed: feed{grown: make(chan struct{}, 1)}, began: make(chan struct{}), done: make(chan struct{})}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(t.Context())
	began := sync.OnceFunc(func() { close(w.began) })
	go func() {
		defer close(w.done)
		w.err = engine.Watch(ctx, caller, scope, from, func(_ context.Context, events []vault.Event, next changes.Position) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.position = next
			for _, e := range events {
				w.seen = append(w.seen, fmt.Sprintf("%s %s %d", e.Kind, e.Path, e.Version))
			}
			select {
			case w.grown <- struct{}{}:
			default:
			}
			began()
			return nil
		})
	}()
	t.Cleanup(func() { w.cancel(); <-w.done })
	select {
	case <-w.began:
	case <-w.done:
		t.Fatalf("the watch ended: %v", w.err)
	case <-time.After(patience):
		t.Fatal("no position came")
	}
	return w
}

// stop ends the watch and returns the last position and what came.
func (w *watching) stop(t *testing.T) (changes.Position, []string) {
	t.Helper()
	w.cancel()
	<-w.done
	if w.err != nil {
		t.Errorf("the watch ended with %v", w.err)
	}
	return w.position, w.seen
}

func wantSeen(t *testing.T, who string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s got %q, want %q", who, got, want)
	}
}

// TestWatchShowsWhatTheCallerMaySee: by policy for one, by the access policy on the
// secret for another, below a prefix for a third; and nothing to who may see nothing.
func TestWatchShowsWhatTheCallerMaySee(t *testing.T) {
	env := vaulttest.Start(t)
	lister := vaulttest.ServiceAccount("team", "lister", "production")
	named := vaulttest.ServiceAccount("team", "named", "production")
	nobody := vaulttest.ServiceAccount("team", "nobody", "production")
	env.Allow(t, lister, "team/**", policy.List)
	env.AllowRules(t, lister.Cluster, policy.Rule{
		Effect: policy.Deny, Paths: patterns(t, "team/denied/*"), Capabilities: []policy.Capability{policy.List, policy.Read},
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "*", Name: "*"}}},
	})
	engine := env.Open(t)
	listers, nameds, nobodys := watch(t, engine, lister, "", ""), watch(t, engine, named, "", ""), watch(t, engine, nobody, "", "")
	below := watch(t, engine, env.Admin, "team/a", "")

	env.Put(t, "team/a/one", "v")
	env.Put(t, "team/denied/one", "v")
	env.Put(t, "other/one", "v")
	shared := &secret.AccessPolicy{AllowedServices: []string{"team/named"}, AllowedEnvironments: []string{"production"}}
	env.PutShared(t, "other/shared", "v", shared)
	env.PutShared(t, "team/denied/shared", "v", shared)
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "other/shared")); err != nil {
		t.Fatal(err)
	}
	env.Put(t, "team/a-b", "v") // not below team/a
	env.Put(t, "team/z", "v")
	env.PutShared(t, "other/last", "v", shared)
	env.Put(t, "team/a/last", "v")

	listers.want(t, "put team/a/last 1")
	nameds.want(t, "put other/last 1")
	below.want(t, "put team/a/last 1")
	_, seen := listers.stop(t)
	wantSeen(t, "who may list team/**", seen, "put team/a/one 1", "put team/a-b 1", "put team/z 1", "put team/a/last 1")
	_, seen = nameds.stop(t)
	wantSeen(t, "who is named by the access policy", seen, "put other/shared 1", "delete other/shared 1", "put other/last 1")
	_, seen = below.stop(t)
	wantSeen(t, "who watches team/a", seen, "put team/a/one 1", "put team/a/last 1")
	_, seen = nobodys.stop(t)
	wantSeen(t, "who may see nothing", seen)
}

func patterns(t *testing.T, texts ...string) []policy.Pattern {
	t.Helper()
	var parsed []policy.Pattern
	for _, text := range texts {
		p, err := policy.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, p)
	}
	return parsed
}

// TestWatchDecidesWhenItDelivers: rights of now count, not of when the change was made
// or the watch began.
func TestWatchDecidesWhenItDelivers(t *testing.T) {
	env := vaulttest.Start(t)
	caller := vaulttest.ServiceAccount("team", "api", "production")
	env.Allow(t, caller, "open/**", policy.Read)
	position, _ := watch(t, env.Engine, caller, "", "").stop(t)
	env.Put(t, "secret/one", "v")
	env.Put(t, "open/one", "v")
	env.AllowRules(t, caller.Cluster, policy.Rule{
		Effect: policy.Deny, Paths: patterns(t, "open/**"), Capabilities: []policy.Capability{policy.List, policy.Read},
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "team", Name: "api"}}},
	})
	env.Allow(t, caller, "secret/**", policy.Read)
	w := watch(t, env.Open(t), caller, "", position)
	w.want(t, "put secret/one 1")
	_, seen := w.stop(t)
	wantSeen(t, "the caller", seen, "policy  0", "put secret/one 1")
}

// TestWatchTellsOfPoliciesAboutTheCaller: and of none about others, not even over a
// restart.
func TestWatchTellsOfPoliciesAboutTheCaller(t *testing.T) {
	env := vaulttest.Start(t)
	caller, other := vaulttest.ServiceAccount("team", "api", "production"), vaulttest.ServiceAccount("team", "other", "production")
	foreign := caller
	foreign.Cluster = "another"
	env.Allow(t, caller, "open/**", policy.Read)
	engine := env.Open(t)
	mark := func(n int) string {
		env.Put(t, "open/mark", "v")
		return fmt.Sprintf("put open/mark %d", n)
	}

	w := watch(t, engine, caller, "", "")
	env.Allow(t, other, "x/**", policy.Read)
	env.Allow(t, foreign, "x/**", policy.Read)
	w.want(t, mark(1))
	env.Allow(t, caller, "x/**", policy.Read)
	w.want(t, "policy  0")
	w.want(t, mark(2))
	position, seen := w.stop(t)
	wantSeen(t, "the caller", seen, "put open/mark 1", "policy  0", "put open/mark 2")

	env.Allow(t, other, "y/**", policy.Read)
	again := watch(t, engine, caller, "", position)
	again.want(t, mark(3))
	_, seen = again.stop(t)
	wantSeen(t, "after a restart", seen, "put open/mark 3")
	env.Allow(t, caller, "z/**", policy.Read)
	again = watch(t, engine, caller, "", position)
	again.want(t, "policy  0")
	again.stop(t)

	// A position that Engine.Position gave knows no rights.
	position = present(t, engine)
	env.Allow(t, caller, "zz/**", policy.Read)
	again = watch(t, engine, caller, "", position)
	again.want(t, "policy  0")
}

// TestWatchTellsOfOtherRightsWhenItGoesOn: who comes again as somebody who may see something else is told,
// though no policy changed.
func TestWatchTellsOfOtherRightsWhenItGoesOn(t *testing.T) {
	env := vaulttest.Start(t)
	caller := vaulttest.ServiceAccount("team", "api", "staging")
	user := secret.Caller{Kind: secret.KindUser, Cluster: caller.Cluster, Name: "alice", Groups: []string{"ops"}}
	for _, subjects := range []policy.Subjects{{Groups: []string{"ops"}}, {Groups: []string{"sre"}}, {ServiceAccounts: []policy.ServiceAccount{{Namespace: "team", Name: "api"}}}} {
		env.AllowRules(t, caller.Cluster, policy.Rule{
			Effect: policy.Allow, Paths: patterns(t, "open/**"), Capabilities: []policy.Capability{policy.Read}, Subjects: subjects,
		})
	}
	moved, other := caller, user
	moved.Environment, other.Groups = "production", []string{"sre"}
	version := 0
	for name, test := range map[string]struct{ before, after secret.Caller }{
		"another environment": {caller, moved},
		"other groups":        {user, other},
	} {
		position, _ := watch(t, env.Engine, test.before, "", "").stop(t)
		again := watch(t, env.Engine, test.before, "", position)
		env.Put(t, "open/mark", "v")
		version++
		again.want(t, fmt.Sprintf("put open/mark %d", version))
		position, seen := again.stop(t)
		wantSeen(t, name+": who is as before", seen, fmt.Sprintf("put open/mark %d", version))

		again = watch(t, env.Engine, test.after, "", position)
		again.want(t, "policy  0")
		env.Put(t, "open/mark", "v")
		version++
		again.want(t, fmt.Sprintf("put open/mark %d", version))
		position, seen = again.stop(t)
		wantSeen(t, name+": who is another", seen, "policy  0", fmt.Sprintf("put open/mark %d", version))

		again = watch(t, env.Engine, test.after, "", position)
		env.Put(t, "open/mark", "v")
		version++
		again.want(t, fmt.Sprintf("put open/mark %d", version))
		_, seen = again.stop(t)
		wantSeen(t, name+": who was told", seen, fmt.Sprintf("put open/mark %d", version))
	}
}

// TestWatchGoesOnWhereItWas: each visible event comes, over restarts on other replicas,
// and the position moves also while only others' changes are made.
func TestWatchGoesOnWhereItWas(t *testing.T) {
	env := vaulttest.Start(t)
	caller := vaulttest.ServiceAccount("team", "api", "production")
	env.Allow(t, caller, "open/**", policy.Read)
	position, _ := watch(t, env.Engine, caller, "", "").stop(t)
	var all []string
	for i := range 3 {
		env.Put(t, "open/away", "v")
		env.Put(t, "hidden/one", "v")
		w := watch(t, env.Open(t), caller, "", position)
		w.want(t, fmt.Sprintf("put open/away %d", i+1))
		env.Put(t, "open/there", "v")
		w.want(t, fmt.Sprintf("put open/there %d", i+1))
		var seen []string
		position, seen = w.stop(t)
		all = append(all, seen...)
		if len(position) != changes.PositionLength {
			t.Errorf("a position has %d bytes", len(position))
		}
	}
	wantSeen(t, "the caller", all, "put open/away 1", "put open/there 1", "put open/away 2", "put open/there 2", "put open/away 3", "put open/there 3")
}

// TestWatchBelievesNoForgedAccess: a service that somebody wrote into the access policy
// in the database learns nothing, and who has a policy still does.
func TestWatchBelievesNoForgedAccess(t *testing.T) {
	env := vaulttest.Start(t)
	thief, owner := vaulttest.ServiceAccount("evil", "thief", "production"), vaulttest.ServiceAccount("team", "owner", "production")
	env.Allow(t, owner, "a/**", policy.List)
	env.Allow(t, thief, "b/**", policy.List)
	thiefs, owners := watch(t, env.Engine, thief, "", ""), watch(t, env.Engine, owner, "", "")
	env.Put(t, "a/b", "v")
	owners.want(t, "put a/b 1")
	exec(t, env, `UPDATE secrets SET allowed_services = '{evil/thief}', allowed_environments = '{*}' WHERE path = 'a/b'`)
	exec(t, env, `INSERT INTO changes (kind, path, version) VALUES ('put', 'a/b', 7), ('put', 'a/none', 1)`)
	env.Put(t, "b/mark", "v")
	owners.want(t, "put a/b 7")
	thiefs.want(t, "put b/mark 1")
	_, seen := thiefs.stop(t)
	wantSeen(t, "the thief", seen, "put b/mark 1")
	_, seen = owners.stop(t)
	wantSeen(t, "the owner", seen, "put a/b 1", "put a/b 7")
}

// TestWatchIsAuditedWhenItBegins: also when nothing can be decided.
func TestWatchIsAuditedWhenItBegins(t *testing.T) {
	env := vaulttest.Start(t)
	watch(t, env.Engine, env.Admin, "team", "").stop(t)
	if entry := lastAudit(t, env); entry.Action != audit.Watch || entry.Path != "team/" || entry.Decision != audit.Allowed || entry.Caller != "user:admin" ||
		entry.Rule != "each event is decided when it is delivered" {
		t.Errorf("audit: %+v", entry)
	}
	none := func(context.Context, []vault.Event, changes.Position) error { return nil }
	stranger := env.Admin
	stranger.Cluster = "never-synced"
	wantError(t, env.Engine.Watch(t.Context(), stranger, vault.Scope{}, "", none), secret.ErrUnavailable)
	if entry := lastAudit(t, env); entry.Action != audit.Watch || entry.Decision != audit.Failed || entry.Cluster != "never-synced" {
		t.Errorf("audit: %+v", entry)
	}
	wantError(t, env.Engine.Watch(t.Context(), env.Admin, vault.Scope{}, "c1.x", none), secret.ErrPositionLost)
	wantError(t, env.Engine.Watch(t.Context(), secret.Caller{Kind: secret.KindSystem, Cluster: env.Admin.Cluster}, vault.Scope{}, "", none), secret.ErrDenied)
}

// TestWatchOfNamedPaths: they come, with a prefix what is below it too, and each is in
// the audit log.
func TestWatchOfNamedPaths(t *testing.T) {
	env := vaulttest.Start(t)
	below, err := secret.ParsePrefix("c")
	if err != nil {
		t.Fatal(err)
	}
	named := vault.Scope{Paths: []secret.Path{vaulttest.Path(t, "a/one"), vaulttest.Path(t, "a/two")}}
	both := vault.Scope{Prefix: below, Paths: named.Paths[:1]}
	paths, mixed := watchScope(t, env.Engine, env.Admin, named, ""), watchScope(t, env.Engine, env.Admin, both, "")
	for _, path := range []string{"a/one", "a/one/below", "a/on", "b/c", "c/x", "a/two"} {
		env.Put(t, path, "v")
	}
	paths.want(t, "put a/two 1")
	env.Put(t, "c/last", "v")
	mixed.want(t, "put c/last 1")
	_, seen := paths.stop(t)
	wantSeen(t, "who watches two paths", seen, "put a/one 1", "put a/two 1")
	_, seen = mixed.stop(t)
	wantSeen(t, "who watches a path and a prefix", seen, "put a/one 1", "put c/x 1", "put c/last 1")
	found, _, err := env.Engine.Audit(t.Context(), env.Admin, audit.Query{Action: audit.Watch})
	if err != nil {
		t.Fatal(err)
	}
	var audited []string
	for _, entry := range found {
		audited = append(audited, entry.Path)
	}
	slices.Sort(audited)
	wantSeen(t, "the audit log", audited, "a/one", "a/one", "a/two", "c/")

	many := vault.Scope{Prefix: below}
	for i := range vault.MaxWatchedPaths {
		many.Paths = append(many.Paths, vaulttest.Path(t, fmt.Sprintf("many/%d", i)))
	}
	watchScope(t, env.Engine, env.Admin, many, "").stop(t)
	var rows, commits int
	must(t, connect(t, env).QueryRow(t.Context(), `SELECT count(*), count(DISTINCT xmin::text) FROM audit WHERE path LIKE 'many/%'`).Scan(&rows, &commits))
	if rows != vault.MaxWatchedPaths || commits != 1 {
		t.Errorf("the beginning of a watch of many paths was %d rows in %d commits", rows, commits)
	}
	tooMany := vault.Scope{Paths: make([]secret.Path, vault.MaxWatchedPaths+1)}
	wantError(t, env.Engine.Watch(t.Context(), env.Admin, tooMany, "", nil), secret.ErrInvalid)
}

// TestWatchEndsWithItsHandler: a client that is gone is not delivered to again.
func TestWatchEndsWithItsHandler(t *testing.T) {
	env := vaulttest.Start(t)
	gone, calls := errors.New("the client is gone"), 0
	err := env.Engine.Watch(t.Context(), env.Admin, vault.Scope{}, "", func(context.Context, []vault.Event, changes.Position) error {
		calls++
		return gone
	})
	if !errors.Is(err, gone) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// TestWatchWaitsWhileItCannotBeDecided: events of the meantime come when the policies
// verify again.
func TestWatchWaitsWhileItCannotBeDecided(t *testing.T) {
	env := vaulttest.Start(t)
	caller := vaulttest.ServiceAccount("team", "api", "production")
	env.Allow(t, caller, "open/**", policy.Read)
	w := watch(t, env.Engine, caller, "", "")
	exec(t, env, `UPDATE policy_sets SET revision = revision + 1 WHERE cluster = $1`, caller.Cluster)
	env.Put(t, "open/one", "v")
	eventually(t, "deciding fails", func() bool {
		_, err := env.Engine.List(t.Context(), caller, secret.Prefix{}, secret.Path{}, 0)
		return errors.Is(err, secret.ErrTampered)
	})
	if w.has("put open/one 1") {
		t.Error("an event was delivered by policies that do not verify")
	}
	env.Sync(t, caller.Cluster)
	w.want(t, "put open/one 1")
}

// TestManyWatchersShareOneConnection: Redis sees one reader of the stream, however many
// watch.
func TestManyWatchersShareOneConnection(t *testing.T) {
	env := vaulttest.Start(t)
	engine := env.Open(t)
	var watches []*watching
	for range 20 {
		watches = append(watches, watch(t, engine, env.Admin, "", ""))
	}
	env.Put(t, "a/b", "v")
	for _, w := range watches {
		w.want(t, "put a/b 1")
	}
	list, err := redisClient(t, env).ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(list, "cmd=xread"); n != 1 {
		t.Errorf("%d connections read the stream", n)
	}
}
