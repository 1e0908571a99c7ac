package vaultsecret_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/testkit/kubeproxy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// asks chooses requests of a method whose path has this part, behind the namespace.
func (w *world) asks(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		_, behind, ours := strings.Cut(r.URL.Path, "/namespaces/"+w.namespace+"/")
		return ours && r.Method == method && (strings.HasPrefix(behind, part) || strings.HasSuffix(behind, part))
	}
}

// watchedBackoff notes the most failures in a row of one VaultSecret.
type watchedBackoff struct {
	workqueue.TypedRateLimiter[reconcile.Request]
	most atomic.Int64
}

func (b *watchedBackoff) When(item reconcile.Request) time.Duration {
	d := b.TypedRateLimiter.When(item)
	b.most.Store(max(b.most.Load(), int64(b.NumRequeues(item))))
	return d
}

func newWatchedBackoff() *watchedBackoff {
	return &watchedBackoff{TypedRateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](10*time.Millisecond, time.Second)}
}

// Whatever the API server answers to a write, whether or not it was carried out, the
// Secret, the status and the stamps come right, each change rolls the workload once, and
// nobody reads the API server's own words.
func TestAPIServerFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault kubeproxy.Fault
		// backsOff: the operator itself tries again after a while. It looks at once when an
		// object was changed, and client-go waits as long as the API server asks for.
		backsOff bool
	}{
		"conflict":             {kubeproxy.Fault{Status: http.StatusConflict, Times: 3}, false},
		"too-many-requests":    {kubeproxy.Fault{Status: http.StatusTooManyRequests, Times: 1}, false},
		"internal-error":       {kubeproxy.Fault{Status: http.StatusInternalServerError, Times: 3}, true},
		"unavailable":          {kubeproxy.Fault{Status: http.StatusServiceUnavailable, Times: 3}, true},
		"timeout":              {kubeproxy.Fault{Status: http.StatusGatewayTimeout, Times: 3}, true},
		"cut":                  {kubeproxy.Fault{Times: 3}, true},
		"error-after-landing":  {kubeproxy.Fault{Status: http.StatusInternalServerError, Times: 1, Landed: true}, true},
		"timeout-after-landed": {kubeproxy.Fault{Status: http.StatusGatewayTimeout, Times: 1, Landed: true}, true},
		"cut-after-landing":    {kubeproxy.Fault{Times: 1, Landed: true}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy, backoff := kubeproxy.Start(t, w.config), newWatchedBackoff()
			w.vault.Sync(t, w.namespace) // a cluster that the vault does not know yet is a failure too
			op := w.startOperatorThrough(proxy.Config(), vaultsecret.Options{Cluster: w.namespace, Backoff: backoff}, true)
			w.put(database, "one")
			d := w.deployment("api", envFrom("payments"))
			w.rolledOut(d)

			inject := func(method, part string) *kubeproxy.Injected {
				fault := test.fault
				fault.Requests = w.asks(method, part)
				return proxy.Inject(fault)
			}
			happened := func(faults ...*kubeproxy.Injected) {
				t.Helper()
				for i, fault := range faults {
					if left := fault.Left(); left > 0 {
						t.Errorf("fault %d was to happen %d times more", i, left)
					}
				}
			}
			created, first := inject(http.MethodPost, "secrets"), inject(http.MethodPut, "/status")
			object := w.atOnce("payments")
			w.ready(object)
			w.holds("payments", map[string]string{"value": "one"})
			happened(created, first)

			updated, stamped, told := inject(http.MethodPut, "secrets/"), inject(http.MethodPatch, "deployments/"), inject(http.MethodPut, "/status")
			w.rotate(database, "two")
			w.followed(object, d, "two", 1)
			happened(updated, stamped, told)
			w.rotate(database, "three") // and without faults
			w.followed(object, d, "three", 2)
			w.calm(backoff, object)

			deleted := inject(http.MethodDelete, "secrets/")
			w.setAccess(&secret.AccessPolicy{})
			w.isGone("payments")
			w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
			happened(deleted)

			w.saysNothingOf(object, kubeproxy.RawText)
			w.calm(backoff, object)
			counted := map[bool]string{true: "StatusWriteFailed", false: "Conflict"}[test.backsOff]
			if fault := test.fault; fault.Status != http.StatusTooManyRequests && op.syncs(t, counted) == 0 {
				t.Errorf("no reconcile is counted as %s", counted)
			}
			if (backoff.most.Load() > 0) != test.backsOff {
				t.Errorf("a VaultSecret failed %d times in a row; the operator is to back off: %v", backoff.most.Load(), test.backsOff)
			}
		})
	}
}

// atOnce makes a VaultSecret whose changes roll workloads without a wait.
func (w *world) atOnce(name string) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	return w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Rollout.Debounce = &metav1.Duration{}
		s.RefreshInterval = &metav1.Duration{} // no other look than for an event or a failure
	})
}

// followed waits until the Secret holds value and the Deployment has rolled for it, and
// checks that it was stamped so many times since it was made.
func (w *world) followed(object *vaultv1alpha1.VaultSecret, d *appsv1.Deployment, value string, stamps int64) {
	w.t.Helper()
	w.holds(object.Name, map[string]string{"value": value})
	w.stamped(d, object.Name)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRollingOut)
	w.rolledOut(d)
	w.ready(object)
	if got := refreshed(w, d).Generation - 1; got != stamps {
		w.t.Errorf("after the value %q the Deployment was written %d times, want once for each of %d changes", value, got, stamps)
	}
}

// calm waits until nothing is left of earlier failures of object.
func (w *world) calm(backoff *watchedBackoff, object *vaultv1alpha1.VaultSecret) {
	w.t.Helper()
	w.eventually(func() string {
		if n := backoff.NumRequeues(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)}); n > 0 {
			return fmt.Sprintf("the backoff still counts %d failures", n)
		}
		return ""
	})
}

// saysNothingOf fails when a text stands in the status or in an event of object.
func (w *world) saysNothingOf(object *vaultv1alpha1.VaultSecret, text string) {
	w.t.Helper()
	status, err := yaml.Marshal(refreshed(w, object).Status)
	if err != nil {
		w.t.Fatal(err)
	}
	for place, said := range map[string]string{"the status": string(status), "an event": strings.Join(w.events(object), "\n")} {
		for _, part := range strings.SplitAfter(text, ":") {
			if strings.Contains(said, strings.TrimSpace(part)) {
				w.t.Errorf("%s has the API server's own words:\n%s", place, said)
			}
		}
	}
}

// While a write fails, the status and the event say which, and what comes next, and not
// what the API server says, which may quote the data.
func TestFailuresAreToldInOurWords(t *testing.T) {
	t.Parallel()
	tests := map[string]kubeproxy.Fault{
		"invalid":        {Status: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid},
		"forbidden":      {Status: http.StatusForbidden, Reason: metav1.StatusReasonForbidden},
		"too-large":      {Status: http.StatusRequestEntityTooLarge, Reason: metav1.StatusReasonRequestEntityTooLarge},
		"internal-error": {Status: http.StatusInternalServerError},
		"unavailable":    {Status: http.StatusServiceUnavailable},
		"timeout":        {Status: http.StatusGatewayTimeout},
		"cut":            {},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy := kubeproxy.Start(t, w.config)
			w.vault.Sync(t, w.namespace)
			w.startOperatorThrough(proxy.Config(), vaultsecret.Options{Cluster: w.namespace, Backoff: newWatchedBackoff()}, true)
			w.put(database, "one")
			d := w.deployment("api", envFrom("payments"))
			w.rolledOut(d)
			fails := func(method, part, reason string, object *vaultv1alpha1.VaultSecret, do func()) {
				t.Helper()
				fault.Requests, fault.Times = w.asks(method, part), 1_000_000
				proxy.Inject(fault)
				do()
				w.conditionIs(object, vaultv1alpha1.ConditionReady, reason)
				w.hasEvent(object, reason)
				w.saysNothingOf(object, kubeproxy.RawText)
				proxy.Heal()
				w.refresh(object, part) // a refusal is not asked again soon
			}
			object := &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "payments"}}
			fails(http.MethodPost, "secrets", vaultv1alpha1.ReasonSecretWriteFailed, object, func() { w.atOnce("payments") })
			w.ready(object)
			fails(http.MethodPut, "secrets/", vaultv1alpha1.ReasonSecretWriteFailed, object, func() { w.rotate(database, "two") })
			w.followed(object, d, "two", 1)
			fails(http.MethodPatch, "deployments/", vaultv1alpha1.ReasonRolloutFailed, object, func() { w.rotate(database, "three") })
			w.followed(object, d, "three", 2)
		})
	}
}

// A rollout whose pods cannot be listed is told as that, in condition and counter: its
// Secret was written and its workload stamped. It is watched on when they can.
func TestPodsCannotBeListed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault kubeproxy.Fault
		says  string
	}{
		"forbidden":      {kubeproxy.Fault{Status: http.StatusForbidden, Reason: metav1.StatusReasonForbidden}, "the right to list pods"},
		"internal-error": {kubeproxy.Fault{Status: http.StatusInternalServerError}, "the operator's log has the error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxy := kubeproxy.Start(t, w.config)
			w.vault.Sync(t, w.namespace)
			op := w.startOperatorThrough(proxy.Config(), vaultsecret.Options{Cluster: w.namespace, Backoff: newWatchedBackoff()}, true)
			w.put(database, "one")
			object := w.atOnce("payments")
			w.holds("payments", map[string]string{"value": "one"})
			d := w.deployment("api", envFrom("payments"))
			w.rolledOut(d)
			w.knownGood(object, 1)

			failed := op.syncs(t, vaultv1alpha1.ReasonSecretWriteFailed)
			fault := test.fault
			fault.Requests, fault.Times = w.asks(http.MethodGet, "pods"), 1_000_000
			proxy.Inject(fault)
			w.rotate(database, "two")
			w.stampIs(d, "payments", w.stampOf(object, "two"))
			said := w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRolloutFailed).Message
			for _, want := range []string{"the pods of Deployment/api could not be listed", test.says, "it is tried again"} {
				if !strings.Contains(said, want) {
					t.Errorf("RolledOut says %q, want %q in it", said, want)
				}
			}
			if c := w.conditionIs(object, vaultv1alpha1.ConditionSynced, vaultv1alpha1.ReasonSynced); c.Status != metav1.ConditionTrue {
				t.Errorf("Synced is %s", c.Status)
			}
			w.hasEvent(object, vaultv1alpha1.ReasonRolloutFailed)
			w.saysNothingOf(object, kubeproxy.RawText)
			w.eventually(func() string { // it is counted after the status is written
				if op.syncs(t, vaultv1alpha1.ReasonRolloutFailed) == 0 {
					return "no reconcile is counted as RolloutFailed"
				}
				return ""
			})
			if got := op.syncs(t, vaultv1alpha1.ReasonSecretWriteFailed); got != failed {
				t.Errorf("%d reconciles are counted as SecretWriteFailed, %d before", got, failed)
			}
			proxy.Heal()
			w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
			w.missesDeadline(d)
			w.isBack(object, "one", 1)
		})
	}
}

// An event does not wait for the backoff of what failed before it: whatever was wrong,
// the operator looks as soon as something changes.
func TestEventsDoNotWaitForTheBackoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy := kubeproxy.Start(t, w.config)
	w.vault.Sync(t, w.namespace)
	w.startOperatorThrough(proxy.Config(), vaultsecret.Options{
		Cluster: w.namespace,
		Backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](24*time.Hour, 24*time.Hour),
	}, true)
	w.put(database, "one")
	proxy.Inject(kubeproxy.Fault{Requests: w.asks(http.MethodPost, "secrets"), Times: 1, Status: http.StatusInternalServerError})
	object := w.atOnce("payments")
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretWriteFailed)
	w.rotate(database, "two")
	w.holds("payments", map[string]string{"value": "two"})
	w.ready(object)
}
