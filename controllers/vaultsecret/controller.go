package vaultsecret

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret/paced"
	"github.com/coffer-vault/coffer/internal/rollout"
)

// +kubebuilder:rbac:groups=vault.coffer.dev,resources=vaultsecrets,verbs=get;list;watch
// The right to patch is for the manager of before, which leads on while this one is rolled out.
// +kubebuilder:rbac:groups=vault.coffer.dev,resources=vaultsecrets/status,verbs=patch;update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=serviceaccounts;namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets;daemonsets,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=argoproj.io,resources=rollouts,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch

// name of the controller, in logs, metrics, events and managed fields.
const name = "vaultsecret"

// fieldOwner stands in the managed fields of what the operator writes.
const fieldOwner = "coffer"

// Bounds of the backoff of a VaultSecret that fails for a reason that may pass by
// itself: short enough that all converge soon after an outage.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// reconcileTimeout bounds one reconcile, should the API server or the vault hang.
const reconcileTimeout = 2 * time.Minute

// Options of Setup.
type Options struct {
	// Vault is the engine.
	Vault Vault
	// Changes tells what changes in it.
	Changes ChangeSource
	// Acknowledger is told which versions each VaultSecret has; nobody when nil.
	Acknowledger Acknowledger
	// Rotations is told which versions workloads do not come up with; nobody when nil.
	Rotations RotationFailer
	// Namespaces are those whose VaultSecrets the cache of the manager has; all when nil.
	Namespaces []string
	// Cluster is the name of this cluster in the vault's policies.
	Cluster string
	// DefaultEnvironment is that of namespaces without the label; none when empty.
	DefaultEnvironment string
	// PoliciesInForce reports whether the VaultPolicies of the cluster were brought
	// into the vault since the program started. Until then a denial may only mean
	// that the vault does not know the cluster yet, and takes no Secret away. nil
	// stands for always.
	PoliciesInForce func() bool
	// Workers reconcile at the same time; a multiple of the cores when 0.
	Workers int
	// Registerer takes the metrics; controller-runtime's when nil.
	Registerer prometheus.Registerer
	// Backoff says how long a VaultSecret waits that failed for a reason that may pass by
	// itself; exponential between 200 ms and 30 s when nil.
	Backoff workqueue.TypedRateLimiter[reconcile.Request]
}

// Reconciler keeps the Secret of a VaultSecret equal to the vault.
type Reconciler struct {
	// Client reads from the cache that CacheByObject describes and sees its own
	// writes.
	client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	Vault     Vault

	Cluster, DefaultEnvironment string

	// PoliciesInForce is that of Options.
	PoliciesInForce func() bool

	Recorder events.EventRecorder
	Clock    clock.PassiveClock

	roller  rollout.Roller
	metrics *instruments
	own     *ownWrites

	// Rotations is that of Options.
	Rotations    RotationFailer
	toldFailures toldFailures
}

// Setup adds the reconciler to mgr, whose cache must have been made with
// CacheByObject.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Registerer == nil {
		opts.Registerer = metrics.Registry
	}
	if opts.PoliciesInForce == nil {
		opts.PoliciesInForce = func() bool { return true }
	}
	instruments, err := newInstruments(opts.Registerer)
	if err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	consistent, err := NewClient(mgr)
	if err != nil {
		return err
	}
	argoRollouts, err := installed(mgr.GetRESTMapper(), rollout.ArgoRollout)
	if err != nil {
		return err
	}
	recorder := paced.New(mgr.GetEventRecorder(name), mgr.GetScheme(), instruments.eventsDropped)
	if err := mgr.Add(recorder); err != nil {
		return fmt.Errorf("add the recorder of events: %w", err)
	}
	r := &Reconciler{
		Client: consistent, APIReader: mgr.GetAPIReader(), Vault: opts.Vault,
		Cluster: opts.Cluster, DefaultEnvironment: opts.DefaultEnvironment, PoliciesInForce: opts.PoliciesInForce,
		Recorder: recorder, Clock: clock.RealClock{},
		roller:  rollout.Roller{Client: consistent, Pods: mgr.GetAPIReader(), ArgoRollouts: argoRollouts},
		metrics: instruments, own: newOwnWrites(), Rotations: opts.Rotations,
	}
	if err := addIndexes(mgr, argoRollouts); err != nil {
		return err
	}
	if err := addCensus(mgr, opts.Registerer, instruments.propagation); err != nil {
		return err
	}
	if opts.Acknowledger != nil {
		if err := mgr.Add(newAcknowledgements(mgr, opts, instruments.acknowledgementsLate)); err != nil {
			return fmt.Errorf("add what acknowledges: %w", err)
		}
	}
	return r.setupController(mgr, opts)
}

// installed reports whether the API server has the kind. One that comes later is seen
// when the program starts next.
func installed(mapper meta.RESTMapper, kind schema.GroupVersionKind) (bool, error) {
	_, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find out whether there is the kind %s: %w", kind, err)
	}
	return true, nil
}

// NewClient makes a client that waits for the cache to show its own writes: a
// reconcile that follows at once on another must not take the state before it for
// a change, read the vault again and audit it.
func NewClient(mgr ctrl.Manager) (client.Client, error) {
	c, err := client.New(mgr.GetConfig(), client.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		FieldOwner: fieldOwner, Log: mgr.GetLogger(),
		Cache: &client.CacheOptions{Reader: mgr.GetCache(), Unstructured: true, EnableReadYourWritesConsistency: new(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("make the client of the %s controller: %w", name, err)
	}
	return c, nil
}

func (r *Reconciler) setupController(mgr ctrl.Manager, opts Options) error {
	workers := opts.Workers
	if workers == 0 {
		workers = max(16, 8*runtime.GOMAXPROCS(0)) // a worker mostly waits for the network
	}
	backoff := opts.Backoff
	if backoff == nil {
		backoff = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minBackoff, maxBackoff)
	}
	w := watches{reader: mgr.GetCache(), metrics: r.metrics, own: r.own, argoRollouts: r.roller.ArgoRollouts}
	b := ctrl.NewControllerManagedBy(mgr).
		Named(name).
		For(&vaultv1alpha1.VaultSecret{}, specChanges()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			ReconciliationTimeout:   reconcileTimeout,
			RateLimiter:             backoff,
		})
	w.add(b)
	if opts.Changes != nil {
		b.WatchesRawSource(&changeFeed{source: opts.Changes, watches: w, logger: mgr.GetLogger().WithName("changes")})
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("set up the %s controller: %w", name, err)
	}
	return nil
}

// Reconcile brings one VaultSecret into step.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	object := &vaultv1alpha1.VaultSecret{}
	if err := r.Get(ctx, req.NamespacedName, object); err != nil {
		if apierrors.IsNotFound(err) {
			r.metrics.propagation.forget(req.NamespacedName)
			r.toldFailures.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !object.DeletionTimestamp.IsZero() {
		r.metrics.propagation.forget(req.NamespacedName)
		// There is no finalizer of ours: the garbage collector does the rest.
		return ctrl.Result{}, nil
	}
	s := newScope(object)
	s.inForce = r.PoliciesInForce()
	r.metrics.propagation.begun(s.key())
	defer r.metrics.propagation.ended(s.key())
	return r.finish(ctx, s, r.run(ctx, s))
}

// run goes through the steps until one fails.
func (r *Reconciler) run(ctx context.Context, s *scope) error {
	if s.object.Spec.Suspend {
		return nil
	}
	for _, step := range []func(context.Context, *scope) error{
		r.identify,  // who asks
		r.authorise, // may it, and which versions
		r.turnBack,  // or those before, when they failed
		r.inspect,   // what is there
		r.sync,      // make the Secret right
		r.prune,     // take earlier targets away
		r.roll,      // let workloads follow
	} {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
