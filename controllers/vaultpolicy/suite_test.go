package vaultpolicy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultpolicy"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

const (
	cluster  = "default"
	path     = "production/payments/database"
	deadline = 45 * time.Second
)

// kubeConfig is the API server of this package. VaultPolicies are the cluster's, so
// its tests run one after the other, and each removes what it made.
var kubeConfig *rest.Config

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	server, err := kube.Start("../../config/crd/bases")
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting a kube-apiserver:", err)
		os.Exit(1)
	}
	kubeConfig = server.Config()
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(vaultv1alpha1.AddToScheme(s))
	return s
}()

// failing is an engine that can be made to refuse.
type failing struct {
	*vault.Engine
	down     atomic.Bool
	replaced atomic.Int64
}

func (f *failing) ReplacePolicies(ctx context.Context, cluster string, policies []policy.Policy) (bool, error) {
	if f.down.Load() {
		return false, fmt.Errorf("replace: %w", secret.ErrUnavailable)
	}
	changed, err := f.Engine.ReplacePolicies(ctx, cluster, policies)
	if changed {
		f.replaced.Add(1)
	}
	return changed, err
}

type world struct {
	t      *testing.T
	client client.Client
	vault  *vaulttest.Env
	engine *failing
	caller secret.Caller
}

// newWorld makes a world with a value at path and no operator.
func newWorld(t *testing.T) *world {
	t.Helper()
	admin, err := client.New(kubeConfig, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, client: admin, vault: vaulttest.Start(t), caller: vaulttest.ServiceAccount("payments", "api", "production")}
	w.engine = &failing{Engine: w.vault.Engine}
	w.vault.Put(t, path, "one")
	t.Cleanup(func() {
		if err := admin.DeleteAllOf(context.Background(), &vaultv1alpha1.VaultPolicy{}); err != nil {
			t.Error(err)
		}
	})
	return w
}

// startOperator starts a manager with the controller and returns what stops it.
func (w *world) startOperator() (stop func()) {
	w.t.Helper()
	mgr, err := ctrl.NewManager(kubeConfig, ctrl.Options{
		Scheme: scheme, Logger: testr.New(w.t), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := vaultpolicy.Setup(mgr, vaultpolicy.Options{Engine: w.engine, Cluster: cluster}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the manager ended with %v", err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// rule is one about reading path as the world's caller, changed by f.
func rule(effect vaultv1alpha1.PolicyEffect, f ...func(*vaultv1alpha1.VaultPolicyRule)) vaultv1alpha1.VaultPolicyRule {
	r := vaultv1alpha1.VaultPolicyRule{
		Effect: effect, Paths: []vaultv1alpha1.PathPattern{"production/payments/**"}, Capabilities: []vaultv1alpha1.Capability{"read"},
		Subjects: vaultv1alpha1.PolicySubjects{ServiceAccounts: []vaultv1alpha1.ServiceAccountSubject{{Namespace: "payments", Name: "*"}}},
	}
	for _, change := range f {
		change(&r)
	}
	return r
}

func (w *world) policy(name string, rules ...vaultv1alpha1.VaultPolicyRule) *vaultv1alpha1.VaultPolicy {
	w.t.Helper()
	object := &vaultv1alpha1.VaultPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: vaultv1alpha1.VaultPolicySpec{Rules: rules}}
	if err := w.client.Create(context.Background(), object); err != nil {
		w.t.Fatal(err)
	}
	return object
}

func (w *world) eventually(ok func() string) {
	w.t.Helper()
	testkit.Eventually(w.t, deadline, ok)
}

// allowed reports whether the caller may read path; the engine decides.
func (w *world) allowed() bool {
	w.t.Helper()
	_, err := w.engine.Check(context.Background(), w.caller, []secret.Ref{{Path: vaulttest.Path(w.t, path)}})
	if err != nil && !errors.Is(err, secret.ErrDenied) && !errors.Is(err, secret.ErrUnavailable) { // not synced yet
		w.t.Fatal(err)
	}
	return err == nil
}

func (w *world) becomes(allowed bool) {
	w.t.Helper()
	w.eventually(func() string {
		if w.allowed() != allowed {
			return fmt.Sprintf("allowed is %v", !allowed)
		}
		return ""
	})
}

func (w *world) reasonIs(object *vaultv1alpha1.VaultPolicy, reason string) metav1.Condition {
	w.t.Helper()
	var found metav1.Condition
	w.eventually(func() string {
		if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		condition := meta.FindStatusCondition(object.Status.Conditions, vaultv1alpha1.ConditionReady)
		if condition == nil || condition.Reason != reason || condition.ObservedGeneration != object.Generation {
			return fmt.Sprintf("the condition is %+v, want %s of generation %d", condition, reason, object.Generation)
		}
		found = *condition
		return ""
	})
	return found
}

// A rule counts from its VaultPolicy's creation to its deletion, and a change of it
// at once.
func TestPolicyIsEnforced(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	w.becomes(false)
	object := w.policy("payments", rule(vaultv1alpha1.EffectAllow))
	w.becomes(true)
	if c := w.reasonIs(object, vaultv1alpha1.ReasonEnforced); c.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %s", c.Status)
	}
	if object.Status.ObservedGeneration != object.Generation {
		t.Errorf("observed generation %d of %d", object.Status.ObservedGeneration, object.Generation)
	}

	object.Spec.Rules[0].Environments = []string{"staging"}
	if err := w.client.Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	w.becomes(false)
	w.reasonIs(object, vaultv1alpha1.ReasonEnforced)

	object.Spec.Rules[0].Environments = []string{"production"}
	if err := w.client.Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	w.becomes(true)

	deny := w.policy("deny", rule(vaultv1alpha1.EffectDeny))
	w.becomes(false)
	if err := w.client.Delete(t.Context(), deny); err != nil {
		t.Fatal(err)
	}
	w.becomes(true)
	if err := w.client.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	w.becomes(false)
}

// What went while the operator was away is not in force after it is back, the last
// policy included; and a restart alone changes nothing.
func TestStart(t *testing.T) {
	w := newWorld(t)
	stop := w.startOperator()
	object := w.policy("payments", rule(vaultv1alpha1.EffectAllow))
	w.becomes(true)
	w.reasonIs(object, vaultv1alpha1.ReasonEnforced)
	stop()
	replaced, version := w.engine.replaced.Load(), object.ResourceVersion

	stop = w.startOperator()
	other := w.policy("other", rule(vaultv1alpha1.EffectAllow))
	w.reasonIs(other, vaultv1alpha1.ReasonEnforced)
	if got := w.engine.replaced.Load() - replaced; got != 1 {
		t.Errorf("the policies were replaced %d times, want once for the one that is new", got)
	}
	if w.reasonIs(object, vaultv1alpha1.ReasonEnforced); object.ResourceVersion != version {
		t.Error("the restart wrote the status of a policy that had not changed")
	}
	stop()

	if err := w.client.DeleteAllOf(t.Context(), &vaultv1alpha1.VaultPolicy{}); err != nil {
		t.Fatal(err)
	}
	w.becomes(true)
	w.startOperator()
	w.becomes(false)
}

// A rule ends by itself at its time, and VaultSecrets hear of it as of any change.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	expires := metav1.NewTime(time.Now().Add(2 * time.Second))
	w.policy("short", rule(vaultv1alpha1.EffectAllow, func(r *vaultv1alpha1.VaultPolicyRule) { r.ExpiresAt = &expires }))
	w.becomes(true)
	w.eventually(func() string {
		if w.engine.replaced.Load() < 2 {
			return "the end of the rule is no change of policy"
		}
		return ""
	})
	w.becomes(false)
}

// While the vault does not answer, what was in force stays, and a new policy says
// why it is not; then it is brought into force without help.
func TestVaultUnavailable(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	first := w.policy("first", rule(vaultv1alpha1.EffectAllow))
	w.reasonIs(first, vaultv1alpha1.ReasonEnforced)
	w.engine.down.Store(true)
	second := w.policy("second", rule(vaultv1alpha1.EffectDeny))
	w.reasonIs(second, vaultv1alpha1.ReasonVaultUnavailable)
	w.reasonIs(first, vaultv1alpha1.ReasonEnforced)
	if !w.allowed() {
		t.Error("what was in force is not any more")
	}
	w.engine.down.Store(false)
	w.becomes(false)
	w.reasonIs(second, vaultv1alpha1.ReasonEnforced)
}

// The API server refuses rules that could not be enforced.
func TestValidation(t *testing.T) {
	w := newWorld(t)
	tests := map[string]struct {
		rule vaultv1alpha1.VaultPolicyRule
		want string
	}{
		"no subjects": {rule("Allow", func(r *vaultv1alpha1.VaultPolicyRule) { r.Subjects = vaultv1alpha1.PolicySubjects{} }), "name at least one service account, user or group"},
		"nameless user": {rule("Allow", func(r *vaultv1alpha1.VaultPolicyRule) {
			r.Subjects = vaultv1alpha1.PolicySubjects{Users: []string{""}}
		}), "spec.rules[0].subjects.users[0]"},
		"effect":       {rule("Permit"), `supported values: "Allow", "Deny"`},
		"no paths":     {rule("Allow", func(r *vaultv1alpha1.VaultPolicyRule) { r.Paths = nil }), "spec.rules[0].paths"},
		"part of name": {rule("Allow", func(r *vaultv1alpha1.VaultPolicyRule) { r.Paths = []vaultv1alpha1.PathPattern{"production/pay*"} }), "spec.rules[0].paths[0]"},
		"relative":     {rule("Allow", func(r *vaultv1alpha1.VaultPolicyRule) { r.Paths = []vaultv1alpha1.PathPattern{"production/../x"} }), "spec.rules[0].paths[0]"},
		"capability":   {rule("Allow", func(r *vaultv1alpha1.VaultPolicyRule) { r.Capabilities = []vaultv1alpha1.Capability{"sudo"} }), "supported values"},
		"uid of many":  {rule("Allow", func(r *vaultv1alpha1.VaultPolicyRule) { r.Subjects.ServiceAccounts[0].UID = "0ed1" }), "write its namespace and name in place of *"},
		"environment":  {rule("Allow", func(r *vaultv1alpha1.VaultPolicyRule) { r.Environments = []string{""} }), "spec.rules[0].environments[0]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			object := &vaultv1alpha1.VaultPolicy{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: vaultv1alpha1.VaultPolicySpec{Rules: []vaultv1alpha1.VaultPolicyRule{test.rule}}}
			err := w.client.Create(t.Context(), object, client.DryRunAll)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
}
