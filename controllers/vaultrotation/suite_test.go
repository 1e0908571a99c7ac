package vaultrotation_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultrotation"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/method"
	"github.com/coffer-vault/coffer/internal/vault/rotation/runner"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

const (
	cluster  = "default"
	path     = "production/payments/token"
	account  = "rotator"
	deadline = 45 * time.Second
)

// kubeConfig is the API server of this package. VaultRotations are the cluster's, so its tests run one after the other, and each removes what it
// made.
var kubeConfig *rest.Config

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	server, err := kube.Start("../../config/crd/bases")
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting a kube-apiserver:", err)
		os.Exit(1)
	}
	kubeConfig = server.Config()
	kubeConfig.QPS = -1
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(vaultv1alpha1.AddToScheme(s))
	return s
}()

// spied is an engine that can be made to refuse, and remembers what it was given.
type spied struct {
	*vault.Engine
	down     atomic.Bool
	replaced atomic.Int64
	looked   atomic.Int64

	mu          sync.Mutex
	definitions []rotation.Definition
}

func (s *spied) ReplaceRotations(ctx context.Context, cluster string, definitions []rotation.Definition) (bool, error) {
	if s.down.Load() {
		return false, fmt.Errorf("replace: %w", secret.ErrUnavailable)
	}
	changed, err := s.Engine.ReplaceRotations(ctx, cluster, definitions)
	if changed {
		s.replaced.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.definitions = definitions
	return changed, err
}

func (s *spied) StandingRotations(ctx context.Context, cluster string) ([]rotation.Standing, error) {
	if s.down.Load() {
		return nil, fmt.Errorf("standing: %w", secret.ErrUnavailable)
	}
	defer s.looked.Add(1)
	return s.Engine.StandingRotations(ctx, cluster)
}

// defined are the definitions that the engine was given last, by name.
func (s *spied) defined() map[string]rotation.Definition {
	s.mu.Lock()
	defer s.mu.Unlock()
	byName := map[string]rotation.Definition{}
	for _, d := range s.definitions {
		byName[d.Name] = d
	}
	return byName
}

// readers are the consumers of every path: so many, of which so many have moved.
type readers struct{ total, moved atomic.Int64 }

func (r *readers) Consumers(context.Context, secret.Path, int64) (total, moved int, err error) {
	return int(r.total.Load()), int(r.moved.Load()), nil
}

// ConsumersBack is the same: a test says who has moved.
func (r *readers) ConsumersBack(ctx context.Context, path secret.Path, version int64) (total, moved int, err error) {
	return r.Consumers(ctx, path, version)
}

// world is the cluster of a test, with a vault of its own.
type world struct {
	t         *testing.T
	client    client.Client // an administrator's, without cache
	vault     *vaulttest.Env
	engine    *spied
	readers   *readers
	namespace string
	caller    secret.Caller // the account of the rotations
}

// newWorld makes a world with a value at path, an account that may rotate it, and neither an operator nor a runner.
func newWorld(t *testing.T) *world {
	t.Helper()
	admin, err := client.New(kubeConfig, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, client: admin, vault: vaulttest.StartWith(t, vaulttest.Config{NoRedis: true}), readers: &readers{}}
	w.engine = &spied{Engine: w.vault.Engine}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "test-", Labels: map[string]string{vaultv1alpha1.EnvironmentLabel: "production"},
	}}
	w.create(namespace)
	w.namespace = namespace.Name
	w.create(w.serviceAccount())
	w.caller = vaulttest.ServiceAccount(w.namespace, account, "production")
	w.vault.AllowAll(t, w.caller, "production/payments/**")
	w.vault.Put(t, path, `{"token":"one"}`)
	t.Cleanup(func() {
		if err := admin.DeleteAllOf(context.Background(), &vaultv1alpha1.VaultRotation{}); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: account}}
}

func (w *world) create(obj client.Object) {
	w.t.Helper()
	if err := w.client.Create(context.Background(), obj); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) delete(obj client.Object) {
	w.t.Helper()
	if err := w.client.Delete(context.Background(), obj); err != nil {
		w.t.Fatal(err)
	}
}

// startOperator starts a manager with the controller and returns what stops it.
func (w *world) startOperator(change ...func(*vaultrotation.Options)) (stop func()) {
	w.t.Helper()
	mgr, err := ctrl.NewManager(kubeConfig, ctrl.Options{
		Scheme: scheme, Logger: testr.New(w.t), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
		Cache:      cache.Options{ByObject: vaultsecret.CacheByObject(w.engine), DefaultTransform: vaultsecret.CacheTransform},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	opts := vaultrotation.Options{Engine: w.engine, CheckMethod: method.Methods{}.Check, Cluster: cluster, DefaultEnvironment: "none"}
	for _, f := range change {
		f(&opts)
	}
	if err := vaultrotation.Setup(mgr, opts); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the manager ended with %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// startRunner has runs go on, at a pace of milliseconds.
func (w *world) startRunner() {
	w.t.Helper()
	r := &runner.Runner{
		Vault: w.vault.Engine, Consumers: w.readers, Look: 20 * time.Millisecond, Plan: 100 * time.Millisecond,
		Pace: rotation.Pace{Poll: 50 * time.Millisecond, Retry: 20 * time.Millisecond, Longest: time.Second},
		Rotators: func(ctx context.Context, m rotation.Method, read runner.Reader) (rotator.Rotator, error) {
			return method.Methods{}.New(ctx, m.Kind, m.Settings, method.Reader(read))
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
}

// rotation makes a VaultRotation of path that makes a token every 30 days, without a grace, changed by f.
func (w *world) rotation(name string, f ...func(*vaultv1alpha1.VaultRotationSpec)) *vaultv1alpha1.VaultRotation {
	w.t.Helper()
	object := &vaultv1alpha1.VaultRotation{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: vaultv1alpha1.VaultRotationSpec{
		Path:              path,
		ServiceAccountRef: vaultv1alpha1.ServiceAccountReference{Namespace: w.namespace, Name: account},
		Schedule:          &vaultv1alpha1.RotationSchedule{Every: "30d"},
		Method: vaultv1alpha1.RotationMethod{Generate: &vaultv1alpha1.GenerateMethod{
			Password: &vaultv1alpha1.PasswordGenerator{}, Property: "token",
		}},
		Consumed: vaultv1alpha1.RotationConsumed{Grace: "0s"},
	}}
	for _, change := range f {
		change(&object.Spec)
	}
	w.create(object)
	return object
}

// change updates what the API server has.
func (w *world) change(object *vaultv1alpha1.VaultRotation, f func(*vaultv1alpha1.VaultRotation)) {
	w.t.Helper()
	w.eventually(func() string {
		if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		f(object)
		if err := w.client.Update(context.Background(), object); err != nil {
			if !apierrors.IsConflict(err) {
				w.t.Fatal(err)
			}
			return err.Error()
		}
		return ""
	})
}

func (w *world) ask(object *vaultv1alpha1.VaultRotation, value string) {
	w.t.Helper()
	w.change(object, func(o *vaultv1alpha1.VaultRotation) {
		o.Annotations = map[string]string{vaultv1alpha1.RotateAnnotation: value}
	})
}

func (w *world) eventually(ok func() string) {
	w.t.Helper()
	testkit.Eventually(w.t, deadline, ok)
}

func (w *world) reasonIs(object *vaultv1alpha1.VaultRotation, reason string) metav1.Condition {
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

// runIs waits until the newest run is in the state, and more.
func (w *world) runIs(object *vaultv1alpha1.VaultRotation, state rotation.State, more func(*vaultv1alpha1.RotationRun) bool) *vaultv1alpha1.RotationRun {
	w.t.Helper()
	w.eventually(func() string {
		if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		if run := object.Status.LastRun; run == nil || run.State != string(state) || !more(run) {
			return fmt.Sprintf("the last run is %+v, want one that is %s", run, state)
		}
		return ""
	})
	return object.Status.LastRun
}

func whatever(*vaultv1alpha1.RotationRun) bool { return true }

// eventsAre waits until the reasons of the Events about the object are these, in any order.
func (w *world) eventsAre(object client.Object, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	w.eventually(func() string {
		if got := w.events(object); !slices.Equal(got, want) {
			return fmt.Sprintf("the Events are %v, want %v", got, want)
		}
		return ""
	})
}

func (w *world) events(object client.Object) []string {
	w.t.Helper()
	var list eventsv1.EventList
	if err := w.client.List(context.Background(), &list); err != nil {
		w.t.Fatal(err)
	}
	var reasons []string
	for _, e := range list.Items {
		if e.Regarding.UID == object.GetUID() {
			count := 1
			if e.Series != nil {
				count = int(e.Series.Count)
			}
			reasons = append(reasons, slices.Repeat([]string{e.Reason}, count)...)
		}
	}
	slices.Sort(reasons)
	return reasons
}

// version is the current version of path.
func (w *world) version() int64 {
	w.t.Helper()
	found, err := w.vault.Engine.Read(context.Background(), w.vault.Admin, secret.Ref{Path: vaulttest.Path(w.t, path)})
	if err != nil {
		w.t.Fatal(err)
	}
	defer found.Value.Clear()
	return found.Version
}

// run has the rotation of path begin, by hand.
func (w *world) run() {
	w.t.Helper()
	w.eventually(func() string {
		if _, err := w.vault.Engine.RunRotation(context.Background(), w.caller, vaulttest.Path(w.t, path), rotation.Request{}); err != nil {
			return err.Error() // not defined yet
		}
		return ""
	})
}
