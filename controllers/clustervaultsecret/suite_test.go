package clustervaultsecret_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/clustervaultsecret"
	"github.com/coffer-vault/coffer/controllers/vaultpolicy"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

const (
	crds = "../../config/crd/bases"
	role = "../../config/rbac/role.yaml"
	path = "production/shared/registry"
	// teamLabel is what the selectors of these tests match. Each test has a team of its own.
	teamLabel = "example.com/team"
	// cluster is the name of the cluster in the vault.
	cluster = "default"
	// operatorUser is who the operators of the tests are for the API server: bound to
	// the ClusterRole that is deployed, and to nothing else.
	operatorUser = "coffer-operator"
	// deadline is how long something may take to come true on a loaded machine.
	deadline = 60 * time.Second
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // each manager has a logger of its own
	os.Exit(m.Run())
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(vaultv1alpha1.AddToScheme(s))
	return s
}()

// world is a vault of the test's own on a real Postgres and Redis, and operators
// between it and a real API server. Operators see the whole cluster, so the tests of
// this package run one after the other, and each removes what it made.
type world struct {
	t      *testing.T
	config *rest.Config
	client client.Client // an administrator's, without cache
	vault  *vaulttest.Env
	team   string
	writes *writeCounter

	namespaces []string
}

// teams counts the worlds.
var teams atomic.Int64

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, vaulttest.Config{})
}

// newWorldWith makes a world whose vault is on the servers of vaultConfig.
func newWorldWith(t *testing.T, vaultConfig vaulttest.Config) *world {
	t.Helper()
	config := testkit.Kube(t, crds)
	config.QPS = -1
	admin, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, config: config, client: admin, vault: vaulttest.StartWith(t, vaultConfig), team: fmt.Sprintf("team-%d", teams.Add(1)), writes: &writeCounter{}}
	if err := bindRole(admin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.clean)
	return w
}

// clean removes what later operators would look after.
func (w *world) clean() {
	ctx := context.Background()
	if err := w.client.DeleteAllOf(ctx, &vaultv1alpha1.ClusterVaultSecret{}); err != nil {
		w.t.Error(err)
	}
	for _, namespace := range w.namespaces {
		if err := w.client.DeleteAllOf(ctx, &vaultv1alpha1.VaultSecret{}, client.InNamespace(namespace)); err != nil {
			w.t.Error(err)
		}
		object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		if err := w.client.Delete(ctx, object); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			w.t.Error(err)
		}
	}
}

// bindRole gives operatorUser the deployed rights.
func bindRole(admin client.Client) error {
	text, err := os.ReadFile(role)
	if err != nil {
		return err
	}
	clusterRole := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, clusterRole); err != nil {
		return fmt.Errorf("read %s: %w", role, err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: operatorUser},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operatorUser}},
	}
	for _, obj := range []client.Object{clusterRole, binding} {
		if err := admin.Create(context.Background(), obj); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// writeCounter notes the writes of VaultSecrets and ClusterVaultSecrets, and of their
// status, that an operator sends.
type writeCounter struct {
	mu  sync.Mutex
	all []string
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (c *writeCounter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.Method != http.MethodGet && strings.Contains(request.URL.Path, "vaultsecrets") {
			c.mu.Lock()
			c.all = append(c.all, request.Method+" "+request.URL.Path)
			c.mu.Unlock()
		}
		return next.RoundTrip(request)
	})
}

// of are the writes by this package's controller, and not those of the status of
// VaultSecrets, which is another's.
func (c *writeCounter) of() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.all), func(w string) bool {
		return strings.HasSuffix(w, "/status") && strings.Contains(w, "/namespaces/")
	})
}

// operator is one running manager.
type operator struct {
	reconciler *clustervaultsecret.Reconciler
	logs       *logBuffer
	stop       func()
}

// logBuffer keeps what an operator logs.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) write(prefix, args string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.WriteString(prefix + " " + args + "\n")
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// startOperator starts a manager as internal/app does, and waits until the VaultPolicies
// are in the vault: a VaultSecret that comes before says that the vault is unavailable.
func (w *world) startOperator() *operator {
	w.t.Helper()
	op := &operator{logs: &logBuffer{}}
	asOperator := rest.CopyConfig(w.config)
	asOperator.Impersonate.UserName = operatorUser
	asOperator.Wrap(w.writes.wrap)
	mgr, err := ctrl.NewManager(asOperator, ctrl.Options{
		Scheme:     scheme,
		Logger:     funcr.New(op.logs.write, funcr.Options{Verbosity: 1}),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
		Cache:      cache.Options{ByObject: vaultsecret.CacheByObject(w.vault.Engine), DefaultTransform: vaultsecret.CacheTransform},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := vaultsecret.Setup(mgr, vaultsecret.Options{
		Vault: w.vault.Engine, Changes: w.vault.Engine, Cluster: cluster, Registerer: prometheus.NewRegistry(),
	}); err != nil {
		w.t.Fatal(err)
	}
	synced := make(chan struct{})
	if err := vaultpolicy.Setup(mgr, vaultpolicy.Options{Engine: w.vault.Engine, Cluster: cluster, OnSync: sync.OnceFunc(func() { close(synced) })}); err != nil {
		w.t.Fatal(err)
	}
	if op.reconciler, err = clustervaultsecret.New(mgr); err != nil {
		w.t.Fatal(err)
	}
	if err := op.reconciler.Setup(mgr); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	op.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the manager ended with %v", err)
		}
		if w.t.Failed() {
			w.t.Logf("the operator logged:\n%s", op.logs)
		}
	})
	w.t.Cleanup(op.stop)
	select {
	case <-synced:
	case <-time.After(deadline):
		w.t.Fatalf("after %v the VaultPolicies are not in the vault", deadline)
	}
	return op
}

// reconcile reconciles once more, and fails the test on an error.
func (op *operator) reconcile(t *testing.T, object *vaultv1alpha1.ClusterVaultSecret) {
	t.Helper()
	if _, err := op.reconciler.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)}); err != nil {
		t.Fatal(err)
	}
}

// namespace makes a namespace of the team, with the service account api unless
// without.
func (w *world) namespace(team string, accounts ...string) string {
	w.t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "test-", Labels: map[string]string{teamLabel: team, vaultv1alpha1.EnvironmentLabel: "production"},
	}}
	w.create(object)
	w.namespaces = append(w.namespaces, object.Name)
	for _, name := range accounts {
		w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: object.Name, Name: name}})
	}
	return object.Name
}

// put writes a value at path that the accounts api of the namespaces may read.
func (w *world) put(value string, namespaces ...string) {
	w.t.Helper()
	access := &secret.AccessPolicy{AllowedEnvironments: []string{"production"}}
	for _, namespace := range namespaces {
		access.AllowedServices = append(access.AllowedServices, namespace+"/api")
	}
	w.vault.PutShared(w.t, path, value, access)
}

// clusterVaultSecret makes one for the namespaces of the world's team, changed by f.
func (w *world) clusterVaultSecret(name string, f ...func(*vaultv1alpha1.ClusterVaultSecretSpec)) *vaultv1alpha1.ClusterVaultSecret {
	w.t.Helper()
	object := &vaultv1alpha1.ClusterVaultSecret{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: vaultv1alpha1.ClusterVaultSecretSpec{
			NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{teamLabel: w.team}},
			Template:          vaultv1alpha1.VaultSecretTemplate{Spec: vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: path}},
		},
	}
	for _, change := range f {
		change(&object.Spec)
	}
	w.create(object)
	return object
}

func (w *world) create(obj client.Object) {
	w.t.Helper()
	if err := w.client.Create(context.Background(), obj); err != nil {
		w.t.Fatalf("create %T: %v", obj, err)
	}
}

func (w *world) delete(obj client.Object) {
	w.t.Helper()
	if err := w.client.Delete(context.Background(), obj); err != nil {
		w.t.Fatalf("delete %T: %v", obj, err)
	}
}

// collectGarbage does what Kubernetes' garbage collector does, which is not here: it deletes the Secret of a VaultSecret that is
// gone, as often as it is there, until the next one has made its own.
func (w *world) collectGarbage(gone *vaultv1alpha1.VaultSecret) {
	w.t.Helper()
	w.eventually(func() string {
		var s corev1.Secret
		if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(gone), &s); err != nil {
			return err.Error()
		}
		owner := metav1.GetControllerOf(&s)
		if owner == nil || owner.UID != gone.UID {
			return ""
		}
		if err := w.client.Delete(context.Background(), &s, client.Preconditions{UID: &s.UID}); client.IgnoreNotFound(err) != nil {
			w.t.Fatal(err)
		}
		return "the Secret of the one that is gone"
	})
}

// change updates obj as it is now by f, whoever else writes it.
func change[T client.Object](w *world, obj T, f func(T)) {
	w.t.Helper()
	for {
		if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(obj), obj); err != nil {
			w.t.Fatal(err)
		}
		f(obj)
		err := w.client.Update(context.Background(), obj)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			w.t.Fatalf("update %T: %v", obj, err)
		}
	}
}

// relabel puts the namespace into another team.
func (w *world) relabel(namespace, team string) {
	w.t.Helper()
	change(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, func(n *corev1.Namespace) { n.Labels[teamLabel] = team })
}

// child reads the VaultSecret; nil when there is none.
func (w *world) child(namespace, name string) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	object := &vaultv1alpha1.VaultSecret{}
	err := w.client.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return object
}

// eventually waits until ok says "", and fails with what it said last.
func (w *world) eventually(ok func() string) {
	w.t.Helper()
	testkit.Eventually(w.t, deadline, ok)
}

// comes waits until the namespace has the VaultSecret.
func (w *world) comes(namespace, name string) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	var found *vaultv1alpha1.VaultSecret
	w.eventually(func() string {
		if found = w.child(namespace, name); found == nil {
			return fmt.Sprintf("there is no VaultSecret %s/%s", namespace, name)
		}
		return ""
	})
	return found
}

// goes waits until the namespace has no such VaultSecret.
func (w *world) goes(namespace, name string) {
	w.t.Helper()
	w.eventually(func() string {
		if w.child(namespace, name) != nil {
			return fmt.Sprintf("the VaultSecret %s/%s is still there", namespace, name)
		}
		return ""
	})
}

// outcomes waits until the status is about the present generation, says reason, and
// lists these outcomes, as "namespace: reason". It returns the condition Ready.
func (w *world) outcomes(object *vaultv1alpha1.ClusterVaultSecret, reason string, want ...string) metav1.Condition {
	w.t.Helper()
	var found metav1.Condition
	w.eventually(func() string {
		if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		status := &object.Status
		var got []string
		ready := 0
		for _, o := range status.Namespaces {
			got = append(got, o.Namespace+": "+o.Reason)
			if o.Ready {
				ready++
			}
		}
		condition := meta.FindStatusCondition(status.Conditions, vaultv1alpha1.ConditionReady)
		if condition == nil || condition.Reason != reason || condition.ObservedGeneration != object.Generation || status.ObservedGeneration != object.Generation {
			return fmt.Sprintf("the condition is %+v, want %s of generation %d; outcomes are %q", condition, reason, object.Generation, got)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || int(status.Matched) != len(want) || int(status.Ready) != ready {
			return fmt.Sprintf("the outcomes are %q (%d matched, %d ready), want %q", got, status.Matched, status.Ready, want)
		}
		found = *condition
		return ""
	})
	return found
}

// holds waits until the Secret has this value.
func (w *world) holds(namespace, name, want string) {
	w.t.Helper()
	w.eventually(func() string {
		s := &corev1.Secret{}
		if err := w.client.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
			return err.Error()
		}
		if got := string(s.Data["value"]); got != want {
			return fmt.Sprintf("the Secret %s/%s holds %q, want %q", namespace, name, got, want)
		}
		return ""
	})
}
