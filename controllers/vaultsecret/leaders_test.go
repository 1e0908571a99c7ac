package vaultsecret_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// gate is between an operator and the API server. While it is shut the operator is as
// one that is paused: requests are not sent, and a write of a Secret that was about to
// be sent is, once the gate opens, whatever its context says by then.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // nil while it is open
	held   chan struct{} // gets one for each write of a Secret that is held
	answer chan int      // and one for each that was sent late: the status code
}

func newGate() *gate { return &gate{held: make(chan struct{}, 16), answer: make(chan int, 16)} }

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (g *gate) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		g.mu.Lock()
		opened := g.opened
		g.mu.Unlock()
		if opened == nil {
			return next.RoundTrip(request)
		}
		if request.Method == http.MethodGet || !strings.Contains(request.URL.Path, "/secrets/") {
			select {
			case <-opened:
				return next.RoundTrip(request)
			case <-request.Context().Done():
				return nil, request.Context().Err()
			}
		}
		g.held <- struct{}{}
		<-opened
		response, err := next.RoundTrip(request.WithContext(context.WithoutCancel(request.Context())))
		if err != nil {
			g.answer <- 0
			return nil, err
		}
		g.answer <- response.StatusCode
		return response, nil
	})
}

// elected lets the operator take part in the election of the world, behind the gate.
func (w *world) elected(g *gate) func(*rest.Config, *ctrl.Options) {
	return func(asOperator *rest.Config, options *ctrl.Options) {
		// The right to the lease is of the installation's Role, which is not bound here.
		election := rest.CopyConfig(w.config)
		election.Wrap(g.wrap)
		asOperator.Wrap(g.wrap)
		// The election registers types, while other tests read the scheme that all share.
		options.Scheme = runtime.NewScheme()
		utilruntime.Must(clientgoscheme.AddToScheme(options.Scheme))
		utilruntime.Must(vaultv1alpha1.AddToScheme(options.Scheme))
		options.LeaderElection, options.LeaderElectionConfig = true, election
		options.LeaderElectionID, options.LeaderElectionNamespace = "leader", w.namespace
		// As short as a loaded machine allows.
		options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = new(10*time.Second), new(8*time.Second), new(time.Second)
	}
}

// A leader is paused in the middle of a write, until another has its lease and has gone
// on; then it sends what it had in hand. The Secret and the workload stay as the second
// left them.
func TestLeaderPausedPastItsLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := newGate()
	first := w.startOperatorOf(w.namespace, true, w.elected(g))
	first.losesLease = true
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	d := w.deployment("api", envFrom("payments"))
	w.rolledOut(d)
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRolledOut)

	g.shut()
	t.Cleanup(g.open) // whatever happens, it must be able to end
	w.put(database, "two")
	select {
	case <-g.held:
	case <-time.After(deadline):
		t.Fatal("the leader wrote no Secret for the rotation")
	}
	w.startOperatorOf(w.namespace, true, w.elected(newGate()))
	w.holds("payments", map[string]string{"value": "two"})
	w.put(database, "three")
	w.holds("payments", map[string]string{"value": "three"})
	w.eventually(func() string { return stampedOnce(w, d, "payments") })
	w.rolledOut(d)
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRolledOut)
	before := w.secret("payments").ResourceVersion

	g.open()
	select {
	case code := <-g.answer:
		if code != http.StatusConflict {
			t.Errorf("the write of the paused leader was answered with %d, want %d", code, http.StatusConflict)
		}
	case <-time.After(deadline):
		t.Fatal("the paused leader did not send its write")
	}
	first.stop()
	w.holds("payments", map[string]string{"value": "three"})
	if after := w.secret("payments").ResourceVersion; after != before {
		t.Error("the Secret was written again")
	}
	if said := stampedOnce(w, d, "payments"); said != "" {
		t.Error(said)
	}
	w.ready(object)
}

// Two operators with the election off do every rotation once: one write of the Secret,
// one rollout, one stamp.
func TestTwoOperatorsWriteOnce(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.startOperator()
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	d := w.deployment("api", envFrom("payments"))
	w.rolledOut(d)
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRolledOut)
	writes := w.watchSecret("payments")

	for _, value := range []string{"two", "three", "four"} {
		generation := refreshed(w, d).Generation
		w.put(database, value)
		w.holds("payments", map[string]string{"value": value})
		w.eventually(func() string { return stampedOnce(w, d, "payments") })
		w.rolledOut(d)
		w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRolledOut)
		w.ready(object)
		if got := refreshed(w, d).Generation - generation; got != 1 {
			t.Errorf("the rotation to %s changed the Deployment %d times", value, got)
		}
	}
	if got := writes(); got != 3 {
		t.Errorf("three rotations wrote the Secret %d times", got)
	}
}

// stampedOnce says "" when the pod template has one stamp, of what the Secret holds.
func stampedOnce(w *world, d *appsv1.Deployment, name string) string {
	var stamps []string
	for key, value := range refreshed(w, d).Spec.Template.Annotations {
		if strings.HasPrefix(key, vaultv1alpha1.StampAnnotationPrefix) {
			stamps = append(stamps, value)
		}
	}
	want := w.secret(name).Annotations[vaultv1alpha1.ChecksumAnnotation]
	if len(stamps) != 1 || stamps[0] != want {
		return "the Deployment has not exactly the stamp of what the Secret holds"
	}
	return ""
}

// watchSecret counts the writes of the Secret from now on.
func (w *world) watchSecret(name string) (writes func() int) {
	w.t.Helper()
	watcher, err := client.NewWithWatch(w.config, client.Options{Scheme: scheme})
	if err != nil {
		w.t.Fatal(err)
	}
	events, err := watcher.Watch(w.t.Context(), &corev1.SecretList{}, client.InNamespace(w.namespace))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(events.Stop)
	return func() int {
		w.t.Helper()
		// The last event is that of a mark which is written now.
		mark := &corev1.Secret{}
		mark.Namespace, mark.Name = w.namespace, "mark"
		w.create(mark)
		count := 0
		for {
			select {
			case <-time.After(deadline):
				w.t.Fatal("the watch does not tell of the mark")
			case event, ok := <-events.ResultChan():
				if !ok {
					w.t.Fatal("the watch ended")
				}
				s, isSecret := event.Object.(*corev1.Secret)
				if isSecret && s.Name == mark.Name {
					return count
				}
				if isSecret && s.Name == name && event.Type == watch.Modified {
					count++
				}
			}
		}
	}
}
