package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

const (
	// soakVariable says how long TestSoak lasts, as "60s"; make soak sets it.
	soakVariable = "COFFER_SOAK"
	soakLasts    = 3 * time.Second

	soakTeams, soakWatchersOfTeam = 10, 5
	// soakPatience is far above what a rotation takes to arrive on a machine that is busy.
	soakPatience = 2 * time.Minute
)

// TestSoak has 50 watchers over HTTPS, and a writer for each five, who rotates what they
// may see, has it denied to them and allowed again, and has them go away and come again.
// Each watcher sees each version that it may see once and in order, and no other; and
// nothing is left when they are gone.
func TestSoak(t *testing.T) {
	lasts := soakLasts
	if text := os.Getenv(soakVariable); text != "" {
		var err error
		lasts, err = time.ParseDuration(text)
		must(t, err)
	}
	testkit.Postgres(t) // its server stays for the other tests
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { nothingIsLeft(t, before) }) // after all that is closed below
	s := startSoak(t)
	var writers, watchers sync.WaitGroup
	ctx, gone := context.WithCancel(t.Context())
	defer watchers.Wait()
	defer gone()
	for _, team := range s.teams {
		for i, w := range team.watchers {
			watchers.Go(func() {
				if err := w.run(ctx, s.client(t, team.name), team.scope(i)); err != nil {
					t.Errorf("a watch of %s: %v", team.name, err)
				}
			})
		}
	}
	end := time.Now().Add(lasts)
	for _, team := range s.teams {
		writers.Go(func() {
			for team.rounds == 0 || time.Now().Before(end) {
				if err := s.round(t.Context(), team); err != nil {
					t.Errorf("%s, after %d rounds: %v", team.name, team.rounds, err)
					return
				}
			}
		})
	}
	writers.Wait()
	rotations, rounds, events, returns := s.sums()
	t.Logf("in %v: %d rotations, of which %d were denied, reached %d watchers as %d events; they came again %d times",
		lasts, rotations, rounds, soakTeams*soakWatchersOfTeam, events, returns)
	gone()
	watchers.Wait()
	testkit.Eventually(t, soakPatience, func() string {
		s.closeIdle() // a stream that was given up may end a little later than its reader
		if n := s.connections(); n > 0 {
			return fmt.Sprintf("%d connections are left", n)
		}
		return ""
	})
}

// nothingIsLeft waits for goroutines that end, on a machine that is busy.
func nothingIsLeft(t *testing.T, before goleak.Option) {
	t.Helper()
	var err error
	for end := time.Now().Add(soakPatience); time.Now().Before(end); { // each look is of a second and more
		if err = goleak.Find(before); err == nil {
			return
		}
	}
	t.Error(err)
}

// soak is the server and who uses it.
type soak struct {
	vault  *vaulttest.Env
	server *httptest.Server
	writer *sdk.Client
	teams  []*team

	mu         sync.Mutex
	denied     map[string]bool // teams
	open       map[net.Conn]bool
	transports []*http.Transport
}

// team is watchers who may see the same, and what they must have seen. Its writer alone
// uses it.
type team struct {
	name      string
	watchers  []*watcher
	wanted    map[string][]int64 // versions by path
	rounds    int
	rotations int
}

// plain are the paths that the team may always see, and hidden what is denied at times.
func (t *team) plain(i int) string { return fmt.Sprintf("%s/plain/%d", t.name, i%2) }

func (t *team) hidden() string { return t.name + "/hidden/key" }

// scope names what the team may see in three ways; one names everything.
func (t *team) scope(i int) sdk.WatchOptions {
	switch i % 3 {
	case 0:
		return sdk.WatchOptions{}
	case 1:
		return sdk.WatchOptions{Prefix: t.name + "/"}
	default:
		return sdk.WatchOptions{Paths: []string{t.plain(0), t.plain(1), t.hidden()}}
	}
}

func startSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{vault: vaulttest.Start(t), denied: map[string]bool{}, open: map[net.Conn]bool{}}
	ending := make(chan struct{})
	s.server = httptest.NewUnstartedServer(server.New(server.Config{
		Vault: s.vault.Engine, Authenticator: byToken{}, Logger: slog.New(slog.DiscardHandler), Rate: rate.Inf, Burst: 1, Ending: ending,
	}))
	s.server.EnableHTTP2 = true
	count := s.server.Config.ConnState
	s.server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[c] = true; state == http.StateClosed || state == http.StateHijacked {
			delete(s.open, c)
		}
		if count != nil {
			count(c, state)
		}
	}
	s.server.StartTLS()
	t.Cleanup(func() {
		close(ending)
		s.closeIdle()
		s.server.Close()
	})
	for i := range soakTeams {
		team := &team{name: fmt.Sprintf("team-%d", i), wanted: map[string][]int64{}}
		for range soakWatchersOfTeam {
			team.watchers = append(team.watchers, &watcher{seen: map[string][]int64{}})
		}
		s.teams = append(s.teams, team)
	}
	must(t, s.deny(t.Context(), "nobody", true))
	s.writer = s.client(t, "writer")
	return s
}

// client has connections of its own.
func (s *soak) client(t *testing.T, token string) *sdk.Client {
	transport := s.server.Client().Transport.(*http.Transport).Clone()
	s.mu.Lock()
	s.transports = append(s.transports, transport)
	s.mu.Unlock()
	client, err := sdk.New(sdk.Config{Address: s.server.URL, Token: token, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Error(err)
	}
	return client
}

func (s *soak) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, transport := range s.transports {
		transport.CloseIdleConnections()
	}
}

func (s *soak) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// deny takes what is hidden from a team, or gives it back, by the policies that all have.
func (s *soak) deny(ctx context.Context, name string, denied bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[name] = denied
	rules := []policy.Rule{soakRule(policy.Allow, "**", "writer")}
	for _, team := range s.teams {
		rules = append(rules, soakRule(policy.Allow, team.name+"/**", team.name))
		if s.denied[team.name] {
			rules = append(rules, soakRule(policy.Deny, team.name+"/hidden/**", team.name))
		}
	}
	named, err := policy.New("soak", rules)
	if err != nil {
		return err
	}
	_, err = s.vault.Engine.ReplacePolicies(ctx, vaulttest.ServiceAccount("writer", "api", "").Cluster, []policy.Policy{named})
	return err
}

func soakRule(effect policy.Effect, pattern, namespace string) policy.Rule {
	paths, err := policy.ParsePattern(pattern)
	if err != nil {
		panic(err)
	}
	return policy.Rule{
		Effect: effect, Paths: []policy.Pattern{paths}, Capabilities: []policy.Capability{policy.Read, policy.List, policy.Write},
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: namespace, Name: "api"}}},
	}
}

// round has a watcher come again, rotates, and rotates something that is denied.
func (s *soak) round(ctx context.Context, team *team) error {
	if team.rounds == 0 {
		for _, w := range team.watchers {
			if err := w.until(ctx, func() (bool, error) { return w.stands, nil }); err != nil {
				return fmt.Errorf("the watch does not stand: %w", err)
			}
		}
	}
	team.watchers[team.rounds%soakWatchersOfTeam].askToLeave()
	for i := range 3 {
		if err := s.rotate(ctx, team, team.plain(i), true); err != nil {
			return err
		}
	}
	if err := s.rotate(ctx, team, team.hidden(), true); err != nil {
		return err
	}
	// Rights count when an event is delivered.
	if err := team.settle(ctx); err != nil {
		return err
	}
	told := team.told()
	if err := s.deny(ctx, team.name, true); err != nil {
		return err
	}
	if err := s.rotate(ctx, team, team.hidden(), false); err != nil {
		return err
	}
	// Who has seen what was written last has been refused what was written before.
	if err := s.rotate(ctx, team, team.plain(0), true); err != nil {
		return err
	}
	if err := team.settle(ctx); err != nil {
		return err
	}
	for i, now := range team.told() {
		if now == told[i] {
			return errors.New("a watcher was not told that its rights are others")
		}
	}
	team.rounds++
	return s.deny(ctx, team.name, false)
}

// rotate writes the next version of path, which the team must see, or must not.
func (s *soak) rotate(ctx context.Context, team *team, path string, seen bool) error {
	written, err := s.writer.Put(ctx, path, sdk.PutRequest{Value: []byte("v")})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	team.rotations++
	if seen {
		team.wanted[path] = append(team.wanted[path], written.Version)
	}
	return nil
}

// settle waits until every watcher has seen what it must.
func (t *team) settle(ctx context.Context) error {
	for i, w := range t.watchers {
		if err := w.until(ctx, func() (bool, error) { return w.has(t.wanted) }); err != nil {
			return fmt.Errorf("watcher %d: %w", i, err)
		}
	}
	return nil
}

// told is how often each was told of other rights.
func (t *team) told() (policies []int) {
	for _, w := range t.watchers {
		w.mu.Lock()
		policies = append(policies, w.policies)
		w.mu.Unlock()
	}
	return policies
}

func (s *soak) sums() (rotations, rounds, events, returns int) {
	for _, team := range s.teams {
		rotations, rounds = rotations+team.rotations, rounds+team.rounds
		for _, w := range team.watchers {
			w.mu.Lock()
			for _, versions := range w.seen {
				events += len(versions)
			}
			returns += w.returns
			w.mu.Unlock()
		}
	}
	return rotations, rounds, events, returns
}

// watcher is one program that watches.
type watcher struct {
	mu       sync.Mutex
	more     chan struct{} // closed when something came; nil when nobody waits
	stands   bool
	seen     map[string][]int64 // versions by path, as they came
	policies int
	leave    bool
	returns  int
}

// run watches until ctx ends. When it is asked to it leaves and comes again from the last
// position.
func (w *watcher) run(ctx context.Context, client *sdk.Client, scope sdk.WatchOptions) error {
	for ctx.Err() == nil {
		for event, err := range client.Watch(ctx, scope) {
			if err != nil {
				return err
			}
			if event.Position != "" {
				scope.After = event.Position
			}
			if w.take(event) {
				break
			}
		}
	}
	return nil
}

// take notes what came, and tells whether to leave: only after an event with a position,
// since others of before it would come again.
func (w *watcher) take(event sdk.Event) (leave bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch event.Kind {
	case sdk.EventPosition:
		w.stands = true
	case sdk.EventPolicy:
		w.policies++
	default:
		w.seen[event.Path] = append(w.seen[event.Path], event.Version)
	}
	if w.more != nil {
		close(w.more)
		w.more = nil
	}
	if leave = w.leave && event.Position != ""; leave {
		w.leave = false
		w.returns++
	}
	return leave
}

func (w *watcher) askToLeave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave = true
}

// has reports whether all came that was wanted; what came beside it is an error. w.mu is
// held.
func (w *watcher) has(wanted map[string][]int64) (all bool, err error) {
	all = true
	for path, seen := range w.seen {
		if len(seen) > len(wanted[path]) || !slices.Equal(seen, wanted[path][:len(seen)]) {
			return false, fmt.Errorf("of %s came the versions %v; want %v", path, seen, wanted[path])
		}
	}
	for path, versions := range wanted {
		all = all && len(w.seen[path]) == len(versions)
	}
	return all, nil
}

// until waits for what is called with w.mu held.
func (w *watcher) until(ctx context.Context, is func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, soakPatience, errors.New("it has not come"))
	defer cancel()
	for {
		w.mu.Lock()
		done, err := is()
		if w.more == nil {
			w.more = make(chan struct{})
		}
		more := w.more
		w.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
