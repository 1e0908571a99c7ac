package vaultsecret_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
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
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultpolicy"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

const (
	crds = "../../config/crd/bases"
	role = "../../config/rbac/role.yaml"
)

// operatorUser is who the operators of the tests are for the API server: bound to
// the ClusterRole that is deployed, and to nothing else.
const operatorUser = "coffer-operator"

// deadline is how long something may take to come true on a loaded machine.
const deadline = 45 * time.Second

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

// world is a namespace of the test's own on a real API server, a vault of its own
// on a real Postgres and Redis, and operators between the two.
type world struct {
	t         testing.TB
	config    *rest.Config
	client    client.Client // an administrator's, without cache
	vault     *vaulttest.Env
	namespace string
}

// counted is an engine that counts what is opened.
type counted struct {
	*vault.Engine
	reads atomic.Int64
	// onRead, when set, is called before a version is opened.
	onRead atomic.Pointer[func(secret.Caller)]
	// onResolved, when not nil, is called with each answer before it is given, and
	// onReplace before policies are replaced.
	onResolved func(error)
	onReplace  func()
	// unacknowledged, when not nil, is whether the database is away for acknowledgements.
	unacknowledged func() bool
	acknowledged   atomic.Int64 // calls
	// failer, when not nil, is told of versions that workloads do not come up with in place of the engine.
	failer vaultsecret.RotationFailer
}

func (c *counted) FailRotation(ctx context.Context, path secret.Path, version int64, reason string) error {
	if c.failer != nil {
		return c.failer.FailRotation(ctx, path, version, reason)
	}
	return c.Engine.FailRotation(ctx, path, version, reason)
}

func (c *counted) Acknowledge(ctx context.Context, cluster string, batch []secret.Acknowledgement) error {
	defer c.acknowledged.Add(1)
	if c.unacknowledged != nil && c.unacknowledged() {
		return secret.ErrUnavailable
	}
	return c.Engine.Acknowledge(ctx, cluster, batch)
}

func (c *counted) AcknowledgeAll(ctx context.Context, cluster string, namespaces []string, all []secret.Acknowledgement) error {
	defer c.acknowledged.Add(1)
	if c.unacknowledged != nil && c.unacknowledged() {
		return secret.ErrUnavailable
	}
	return c.Engine.AcknowledgeAll(ctx, cluster, namespaces, all)
}

func (c *counted) Resolve(ctx context.Context, caller secret.Caller, refs []secret.Ref, prefixes []secret.Prefix, limit int) (secret.Resolution, error) {
	found, err := c.Engine.Resolve(ctx, caller, refs, prefixes, limit)
	if c.onResolved != nil {
		c.onResolved(err)
	}
	return found, err
}

func (c *counted) ReplacePolicies(ctx context.Context, cluster string, policies []policy.Policy) (bool, error) {
	if c.onReplace != nil {
		c.onReplace()
	}
	return c.Engine.ReplacePolicies(ctx, cluster, policies)
}

func (c *counted) ReadAllowed(ctx context.Context, caller secret.Caller, ref secret.Ref, decision secret.Allowed) (secret.Secret, error) {
	c.reads.Add(1)
	if f := c.onRead.Load(); f != nil {
		(*f)(caller)
	}
	return c.Engine.ReadAllowed(ctx, caller, ref, decision)
}

func (c *counted) Read(ctx context.Context, caller secret.Caller, ref secret.Ref) (secret.Secret, error) {
	c.reads.Add(1)
	if f := c.onRead.Load(); f != nil {
		(*f)(caller)
	}
	return c.Engine.Read(ctx, caller, ref)
}

// operator is one running manager, limited to the namespace of its world.
type operator struct {
	engine   *counted
	registry *prometheus.Registry
	logs     *logBuffer
	stop     func()
	// losesLease says that it is to end with an error: it was the leader.
	losesLease bool
	cache      cache.Cache
	// synced is closed when the VaultPolicies were brought into the vault.
	synced chan struct{}
}

// inForce reports whether the VaultPolicies were brought into the vault.
func (op *operator) inForce() bool {
	select {
	case <-op.synced:
		return true
	default:
		return false
	}
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

// newWorld makes a world without an operator. Its namespace is of the environment
// production and has the service account api.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, vaulttest.Config{})
}

func newWorldWith(t *testing.T, vaultConfig vaulttest.Config) *world {
	t.Helper()
	return newWorldOn(t, testkit.Kube(t, crds), vaultConfig)
}

// newWorldOn makes a world on the API server of config.
func newWorldOn(t *testing.T, config *rest.Config, vaultConfig vaulttest.Config) *world {
	t.Helper()
	config.QPS = -1
	admin, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, config: config, client: admin, vault: vaulttest.StartWith(t, vaultConfig)}
	if err := bindRole(admin); err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "test-", Labels: map[string]string{vaultv1alpha1.EnvironmentLabel: "production"},
	}}
	w.create(namespace)
	w.namespace = namespace.Name
	w.createAccount("api")
	return w
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

// newRunningWorld makes a world with an operator that has brought the policies into
// force: a refusal before would say so too.
func newRunningWorld(t *testing.T) (*world, *operator) {
	t.Helper()
	w := newWorld(t)
	op := w.startOperator()
	awaits(op.synced)
	return w, op
}

// startOperator starts a manager as internal/app does.
func (w *world) startOperator() *operator {
	w.t.Helper()
	return w.startOperatorOf(w.namespace, true)
}

// startOperatorOf starts a manager of the named cluster, with or without the
// controller of VaultPolicies, with options changed by f.
func (w *world) startOperatorOf(cluster string, policies bool, f ...func(*rest.Config, *ctrl.Options)) *operator {
	w.t.Helper()
	return w.startOperatorWith(cluster, policies, func(*operator) {}, f...)
}

// startOperatorWith is startOperatorOf with an operator that hooks changed.
func (w *world) startOperatorWith(cluster string, policies bool, hooks func(*operator), f ...func(*rest.Config, *ctrl.Options)) *operator {
	w.t.Helper()
	return w.start(w.config, vaultsecret.Options{Cluster: cluster}, policies, hooks, f...)
}

// startOperatorThrough starts a manager that reaches the API server as config says. Of
// opts it takes the cluster and the backoff.
func (w *world) startOperatorThrough(config *rest.Config, opts vaultsecret.Options, policies bool) *operator {
	w.t.Helper()
	return w.start(config, opts, policies, func(*operator) {})
}

func (w *world) start(config *rest.Config, opts vaultsecret.Options, policies bool, hooks func(*operator), f ...func(*rest.Config, *ctrl.Options)) *operator {
	w.t.Helper()
	op := &operator{engine: &counted{Engine: w.vault.Engine}, registry: prometheus.NewRegistry(), logs: &logBuffer{}, synced: make(chan struct{})}
	hooks(op)
	asOperator := rest.CopyConfig(config)
	asOperator.Impersonate.UserName = operatorUser
	options := ctrl.Options{
		Scheme:     scheme,
		Logger:     funcr.New(op.logs.write, funcr.Options{Verbosity: 10}),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: ctrlconfig.Controller{SkipNameValidation: new(true)},
		Cache: cache.Options{
			ByObject:          vaultsecret.CacheByObject(op.engine),
			DefaultTransform:  vaultsecret.CacheTransform,
			DefaultNamespaces: map[string]cache.Config{w.namespace: {}},
		},
	}
	for _, change := range f {
		change(asOperator, &options)
	}
	mgr, err := ctrl.NewManager(asOperator, options)
	if err != nil {
		w.t.Fatal(err)
	}
	op.cache = mgr.GetCache()
	opts.Vault, opts.Changes, opts.Registerer, opts.PoliciesInForce = op.engine, op.engine, op.registry, op.inForce
	opts.Acknowledger, opts.Rotations, opts.Namespaces = op.engine, op.engine, []string{w.namespace}
	err = vaultsecret.Setup(mgr, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	if policies {
		err := vaultpolicy.Setup(mgr, vaultpolicy.Options{Engine: op.engine, Cluster: opts.Cluster, OnSync: sync.OnceFunc(func() { close(op.synced) })})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	op.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; (err != nil) != op.losesLease {
			w.t.Errorf("the manager ended with %v", err)
		}
		if w.t.Failed() {
			w.t.Logf("the operator logged:\n%s", op.logs)
		}
	}
	w.t.Cleanup(op.stop)
	return op
}

// syncs is how often reconciles of VaultSecrets ended with reason.
func (op *operator) syncs(t testing.TB, reason string) int {
	t.Helper()
	families, err := op.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "coffer_vaultsecret_syncs_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == reason {
				return int(metric.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// counted waits until op has counted so many reconciles that ended for a reason. One is
// counted after the status that tells of it is written.
func (w *world) counted(op *operator, reason string, least int) {
	w.t.Helper()
	w.eventually(func() string {
		if got := op.syncs(w.t, reason); got < least {
			return fmt.Sprintf("%d reconciles ended as %s, want at least %d", got, reason, least)
		}
		return ""
	})
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

func (w *world) createAccount(name string) *corev1.ServiceAccount {
	w.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	w.create(account)
	return account
}

// share is the access policy that lets the world's account api read.
func (w *world) share() *secret.AccessPolicy {
	return &secret.AccessPolicy{AllowedServices: []string{w.namespace + "/api"}, AllowedEnvironments: []string{"production"}}
}

// put writes a value that the account api may read.
func (w *world) put(path, value string) {
	w.t.Helper()
	w.vault.PutShared(w.t, path, value, w.share())
}

// vaultSecret makes a VaultSecret of the account api, changed by f.
func (w *world) vaultSecret(name string, f func(*vaultv1alpha1.VaultSecretSpec)) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	object := &vaultv1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec:       vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api"},
	}
	f(&object.Spec)
	w.create(object)
	return object
}

// ofPath is a VaultSecret of one path.
func (w *world) ofPath(name, path string) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	return w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = vaultv1alpha1.VaultPath(path) })
}

// refreshed reads obj again.
func refreshed[T client.Object](w *world, obj T) T {
	w.t.Helper()
	if err := w.client.Get(context.Background(), client.ObjectKeyFromObject(obj), obj); err != nil {
		w.t.Fatal(err)
	}
	return obj
}

// secret reads a Secret; nil when there is none.
func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{}
	err := w.client.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// eventually waits until ok says "", and fails with what it said last.
func (w *world) eventually(ok func() string) {
	w.t.Helper()
	testkit.Eventually(w.t, deadline, ok)
}

// conditionIs waits for a condition of the present generation with this reason, and
// returns it.
func (w *world) conditionIs(object *vaultv1alpha1.VaultSecret, kind, reason string) metav1.Condition {
	w.t.Helper()
	var found metav1.Condition
	w.eventually(func() string {
		refreshed(w, object)
		condition := meta.FindStatusCondition(object.Status.Conditions, kind)
		if condition == nil {
			return fmt.Sprintf("no condition %s; status is %+v", kind, object.Status)
		}
		if condition.Reason != reason || condition.ObservedGeneration != object.Generation {
			return fmt.Sprintf("condition %s is %s/%s of generation %d (%s), want %s of generation %d",
				kind, condition.Status, condition.Reason, condition.ObservedGeneration, condition.Message, reason, object.Generation)
		}
		found = *condition
		return ""
	})
	return found
}

func (w *world) ready(object *vaultv1alpha1.VaultSecret) {
	w.t.Helper()
	if c := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSynced); c.Status != metav1.ConditionTrue {
		w.t.Fatalf("Ready is %s, want True", c.Status)
	}
}

// holds waits until the Secret has exactly these keys and values.
func (w *world) holds(name string, want map[string]string) {
	w.t.Helper()
	w.eventually(func() string {
		s := w.secret(name)
		if s == nil {
			return fmt.Sprintf("there is no Secret %s", name)
		}
		got := map[string]string{}
		for key, value := range s.Data {
			got[key] = string(value)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("the Secret %s holds %v, want %v", name, got, want)
		}
		return ""
	})
}

func (w *world) isGone(name string) {
	w.t.Helper()
	w.eventually(func() string {
		if w.secret(name) != nil {
			return fmt.Sprintf("the Secret %s is still there", name)
		}
		return ""
	})
}

// deployment makes a Deployment whose pods use the Secret as f says.
func (w *world) deployment(name string, f func(*corev1.PodSpec)) *appsv1.Deployment {
	w.t.Helper()
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: podTemplate(labels, f),
		},
	}
	w.create(d)
	return d
}

func podTemplate(labels map[string]string, f func(*corev1.PodSpec)) corev1.PodTemplateSpec {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "none.local/none"}}},
	}
	f(&template.Spec)
	return template
}

func envFrom(name string) func(*corev1.PodSpec) {
	return func(pod *corev1.PodSpec) {
		pod.Containers[0].EnvFrom = append(pod.Containers[0].EnvFrom, corev1.EnvFromSource{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		})
	}
}

func volume(name string) func(*corev1.PodSpec) {
	return func(pod *corev1.PodSpec) {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}})
	}
}

// rolledOut writes the status that the Deployment controller, which no API server
// brings along, writes when all pods run with the present template.
func (w *world) rolledOut(d *appsv1.Deployment) {
	w.t.Helper()
	refreshed(w, d)
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"}},
	}
	if err := w.client.Status().Update(context.Background(), d); err != nil {
		w.t.Fatal(err)
	}
}

// events returns the events about object, as reason: note.
func (w *world) events(object client.Object) []string {
	w.t.Helper()
	var list corev1.EventList
	if err := w.client.List(context.Background(), &list, client.InNamespace(w.namespace)); err != nil {
		w.t.Fatal(err)
	}
	var found []string
	for _, e := range list.Items {
		if e.InvolvedObject.UID == object.GetUID() {
			found = append(found, e.Reason+": "+e.Message)
		}
	}
	return found
}

// hasEvent waits for an event of the reason.
func (w *world) hasEvent(object client.Object, reason string) string {
	w.t.Helper()
	var found string
	w.eventually(func() string {
		events := w.events(object)
		for _, e := range events {
			if strings.HasPrefix(e, reason+": ") {
				found = e
				return ""
			}
		}
		return fmt.Sprintf("no event %s in %v", reason, events)
	})
	return found
}
