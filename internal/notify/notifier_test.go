package notify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/coffer-vault/coffer/internal/notify"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// within bounds what a test waits for: all of it takes a second on a machine that has nothing else to do.
const within = time.Minute

// quick are times for tests.
func quick(o notify.Options) notify.Options {
	o.Look, o.Pace = 20*time.Millisecond, notify.Pace{First: 20 * time.Millisecond, Longest: 50 * time.Millisecond}
	return o
}

// paths that were told of to a receiver, with how often each.
func (r *receiver) paths() map[string]int {
	found := map[string]int{}
	for _, request := range r.came() {
		_, rest, _ := strings.Cut(request.Body, `"path":"`)
		path, _, _ := strings.Cut(rest, `"`)
		found[path]++
	}
	return found
}

func wantPaths(t *testing.T, r *receiver, want map[string]int) {
	t.Helper()
	testkit.Eventually(t, within, func() string { return cmp.Diff(want, r.paths()) })
}

// TestReplicasTellOnce: two deliver together, and nothing comes twice or holds a value.
func TestReplicasTellOnce(t *testing.T) {
	said, chat := &log{}, receive(t, nil)
	var paths []string
	want := map[string]int{}
	for i := range 12 {
		paths = append(paths, fmt.Sprintf("production/p%d", i))
		want[paths[i]] = 1
	}
	env := start(t, paths...)
	config := open(t, said, chat.sink("hook", "webhook"), nil)
	second := env.Open(t)
	registry := prometheus.NewRegistry()
	ends := []func(){
		run(t, notify.New(quick(notify.Options{Vault: env.Engine, Config: config, Logger: said.logger(), Registerer: registry}))),
		run(t, notify.New(quick(notify.Options{Vault: second, Config: config, Logger: said.logger()}))),
	}
	for i, p := range paths {
		rotate(t, env, []*vault.Engine{env.Engine, second}[i%2], p)
	}
	wantPaths(t, chat, want)
	testkit.Eventually(t, within, func() string {
		if queue, err := env.Engine.NotificationQueue(t.Context()); err != nil || queue.Age > 0 {
			return fmt.Sprintf("%+v, %v", queue, err)
		}
		return ""
	})
	for _, end := range ends {
		end()
	}
	if diff := cmp.Diff(want, chat.paths()); diff != "" {
		t.Error(diff)
	}
	if text := said.String() + fmt.Sprint(chat.came()); strings.Contains(text, "c4nary") {
		t.Error("the value is in a log or in a message")
	}
	if n, err := testutil.GatherAndCount(registry, "coffer_notifications_total", "coffer_notifications_oldest_seconds"); err != nil || n < 1 {
		t.Errorf("%d metrics, %v", n, err)
	}
}

// killed is a vault whose process is killed when it has delivered: it writes nothing any more.
type killed struct {
	*vault.Engine
	died chan struct{}
	once sync.Once
}

var errKilled = errors.New("killed")

func (k *killed) SettleNotification(context.Context, *vault.NotificationClaim) error {
	k.once.Do(func() { close(k.died) })
	return errKilled
}

func (k *killed) RetryNotification(context.Context, *vault.NotificationClaim, time.Duration, bool) error {
	return errKilled
}

func (k *killed) ClaimNotification(ctx context.Context, sink string, lease time.Duration) (*vault.NotificationClaim, error) {
	select {
	case <-k.died:
		return nil, errKilled
	default:
		return k.Engine.ClaimNotification(ctx, sink, lease)
	}
}

// TestKilledBetweenDeliveryAndRemoval: another replica delivers it again when the lease has ended, under the same id.
func TestKilledBetweenDeliveryAndRemoval(t *testing.T) {
	said, chat := &log{}, receive(t, nil)
	env := start(t, "production/database")
	config := open(t, said, chat.sink("hook", "cloudevents"), nil)
	dying := &killed{Engine: env.Engine, died: make(chan struct{})}
	options := quick(notify.Options{Vault: dying, Config: config, Logger: said.logger(), Lease: time.Second})
	end := run(t, notify.New(options))
	rotate(t, env, env.Engine, "production/database")
	<-dying.died
	end()
	options.Vault = env.Open(t)
	run(t, notify.New(options))
	wantPaths(t, chat, map[string]int{"production/database": 2})
	came := chat.came()
	if one, two := came[0].Header.Get("Ce-Id"), came[1].Header.Get("Ce-Id"); one == "" || one != two {
		t.Errorf("the ids are %q and %q", one, two)
	}
}

// TestSinkThatIsDownHoldsNobodyUp, and gets what it missed when it is up again.
func TestSinkThatIsDownHoldsNobodyUp(t *testing.T) {
	said, release := &log{}, make(chan struct{})
	hanging := receive(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	var mu sync.Mutex
	down := true
	failing := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	good := receive(t, nil)
	env := start(t, "production/a", "production/b", "production/c")
	config := open(t, said, hanging.sink("hanging", "webhook", "timeout: 30s")+failing.sink("failing", "webhook")+good.sink("good", "webhook"), nil)
	run(t, notify.New(quick(notify.Options{Vault: env.Engine, Config: config, Logger: said.logger()})))
	for _, p := range []string{"production/a", "production/b", "production/c"} {
		rotate(t, env, env.Engine, p)
	}
	want := map[string]int{"production/a": 1, "production/b": 1, "production/c": 1}
	wantPaths(t, good, want)
	mu.Lock()
	down = false
	before := len(failing.came())
	mu.Unlock()
	close(release)
	testkit.Eventually(t, within, func() string {
		if queue, err := env.Engine.NotificationQueue(t.Context()); err != nil || queue.Age > 0 {
			return fmt.Sprintf("%+v, %v, %d came before", queue, err, before)
		}
		return ""
	})
	wantPaths(t, hanging, want)
	for p := range want {
		if failing.paths()[p] == 0 {
			t.Errorf("%s did not come", p)
		}
	}
	if !strings.Contains(said.String(), "it answered 503") || strings.Contains(said.String(), failing.URL) {
		t.Errorf("the log says: %s", said)
	}
}

// TestRefusedIsGivenUp: it is not sent again, and the next one is.
func TestRefusedIsGivenUp(t *testing.T) {
	said := &log{}
	chat := receive(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	env := start(t, "production/a", "production/b")
	config := open(t, said, chat.sink("hook", "webhook"), nil)
	registry := prometheus.NewRegistry()
	run(t, notify.New(quick(notify.Options{Vault: env.Engine, Config: config, Logger: said.logger(), Registerer: registry})))
	rotate(t, env, env.Engine, "production/a")
	rotate(t, env, env.Engine, "production/b")
	testkit.Eventually(t, within, func() string {
		return cmp.Diff(2, strings.Count(said.String(), "a notification is given up: its sink refuses it"))
	})
	if diff := cmp.Diff(map[string]int{"production/a": 1, "production/b": 1}, chat.paths()); diff != "" {
		t.Error(diff)
	}
}

// TestOnlyWhoWantsItIsTold, by type and by path; the file is taken up when it changes, and a sink that it names no more is told nothing new.
func TestOnlyWhoWantsItIsTold(t *testing.T) {
	said, one, two := &log{}, receive(t, nil), receive(t, nil)
	env := start(t, "production/a", "production/b", "staging/a", "staging/b", "productions/a")
	folder := t.TempDir()
	file := filepath.Join(folder, "config.yaml")
	write(t, file, head+one.sink("one", "webhook", "types: [dev.coffer.rotation.*]", "paths: [production]")+two.sink("two", "webhook", "types: [dev.coffer.rotation.failed]"))
	config, err := notify.Open(file, said.logger())
	if err != nil {
		t.Fatal(err)
	}
	run(t, notify.New(quick(notify.Options{Vault: env.Engine, Config: config, Logger: said.logger()})))
	for _, p := range []string{"staging/a", "productions/a", "production/a"} {
		rotate(t, env, env.Engine, p)
	}
	wantPaths(t, one, map[string]int{"production/a": 1})
	if came := two.came(); len(came) > 0 {
		t.Errorf("the other one is told: %v", came)
	}

	next := filepath.Join(folder, "next.yaml")
	write(t, next, head+two.sink("two", "webhook", "types: [dev.coffer.rotation.*]", "paths: [staging]"))
	if err := os.Rename(next, file); err != nil { // as Kubernetes swaps a mounted one: nobody reads half of it
		t.Fatal(err)
	}
	testkit.Eventually(t, within, func() string {
		if !strings.Contains(said.String(), "took up a configuration file") {
			return "the file is not taken up"
		}
		return ""
	})
	for _, p := range []string{"production/b", "staging/b"} {
		rotate(t, env, env.Engine, p)
	}
	wantPaths(t, two, map[string]int{"staging/b": 1})
	wantPaths(t, one, map[string]int{"production/a": 1})
}

// TestTestSaysHowEachAnswers, to who may ask.
func TestTestSaysHowEachAnswers(t *testing.T) {
	said, good := &log{}, receive(t, nil)
	bad := receive(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Notify: true})
	config := open(t, said, good.sink("good", "slack", "paths: [production]")+bad.sink("bad", "webhook"), nil)
	tester := notify.Tester{Vault: env.Engine, Notifier: notify.New(notify.Options{Vault: env.Engine, Config: config, Logger: said.logger()})}
	answers, err := tester.Test(t.Context(), env.Admin, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range answers {
		got = append(got, fmt.Sprintf("%s %s %v %s", a.Sink, a.Kind, a.Delivered, a.Detail))
	}
	if diff := cmp.Diff([]string{"good slack true ", "bad webhook false it answered 403; its own log says why"}, got); diff != "" {
		t.Error(diff)
	}
	if one, err := tester.Test(t.Context(), env.Admin, "good"); err != nil || len(one) != 1 {
		t.Errorf("one: %v, %v", one, err)
	}
	if _, err := tester.Test(t.Context(), env.Admin, "nobody"); err == nil || !strings.Contains(err.Error(), "there are good, bad") {
		t.Errorf("nobody: %v", err)
	}
	if _, err := (notify.Tester{Vault: env.Engine}).Test(t.Context(), env.Admin, ""); err == nil || !strings.Contains(err.Error(), "--notifications-config") {
		t.Errorf("off: %v", err)
	}
	stranger := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, stranger, "**")
	before := len(good.came())
	if _, err := tester.Test(t.Context(), stranger, ""); err == nil || len(good.came()) != before {
		t.Errorf("a stranger: %v", err)
	}
}

// TestFileWithAMistakeChangesNothing.
func TestFileWithAMistake(t *testing.T) {
	said := &log{}
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, head+"  - name: A\n")
	if _, err := notify.Open(file, said.logger()); err == nil || !strings.Contains(err.Error(), "--notifications-config") || !strings.Contains(err.Error(), "sinks[0].name") {
		t.Errorf("%v", err)
	}
}
