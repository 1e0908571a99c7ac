package vaultrotation

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// +kubebuilder:rbac:groups=vault.coffer.dev,resources=vaultrotations,verbs=get;list;watch
// +kubebuilder:rbac:groups=vault.coffer.dev,resources=vaultrotations/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=serviceaccounts;namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch

// name of the controller.
const name = "vaultrotation"

// Bounds of the backoff while the vault's database does not answer.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// conflictDelay is how long a reconcile that lost a race waits for the cache to see what won.
const conflictDelay = 50 * time.Millisecond

// reconcileTimeout bounds one sync.
const reconcileTimeout = time.Minute

// everything is the one request of this controller.
var everything = reconcile.Request{NamespacedName: client.ObjectKey{Name: "all"}}

// Engine is what the reconciler needs of the vault.
type Engine interface {
	// ReplaceRotations makes definitions all rotations of the cluster; changed is false when they were already.
	ReplaceRotations(ctx context.Context, cluster string, definitions []rotation.Definition) (changed bool, err error)
	// StandingRotations tells how those of the cluster stand.
	StandingRotations(ctx context.Context, cluster string) ([]rotation.Standing, error)
	// RunRotation has the rotation of a path begin now.
	RunRotation(ctx context.Context, caller secret.Caller, path secret.Path, asked rotation.Request) (rotation.Run, error)
}

// Options of Setup.
type Options struct {
	Engine Engine
	// CheckMethod says what is wrong with the settings of a method.
	CheckMethod func(kind string, settings json.RawMessage) error
	// Cluster is the name of this cluster in the vault's rotations.
	Cluster string
	// DefaultEnvironment is that of namespaces without a label.
	DefaultEnvironment string
	// PoliciesInForce reports whether the VaultPolicies of the cluster are in force. Until then a denial means nothing. Always when nil.
	PoliciesInForce func() bool
	// Clock tells what is overdue; the real one when nil.
	Clock clock.PassiveClock
}

// Reconciler syncs all VaultRotations at once.
type Reconciler struct {
	client.Client
	Options

	// APIReader reads past the cache.
	APIReader client.Reader
	Recorder  events.EventRecorder

	// installed is what was handed to the engine last, at installedAt. Only one reconcile runs at a time.
	installed   []rotation.Definition
	installedAt time.Time
}

// Setup adds the reconciler to mgr, whose cache must have been made with vaultsecret.CacheByObject, and see the whole cluster.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.PoliciesInForce == nil {
		opts.PoliciesInForce = func() bool { return true }
	}
	// What a reconcile wrote, the next must see: an annotation is acted on once.
	consistent, err := vaultsecret.NewClient(mgr)
	if err != nil {
		return err
	}
	r := &Reconciler{Client: consistent, Options: opts, APIReader: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder(name)}
	b := ctrl.NewControllerManagedBy(mgr).
		Named(name).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 1,
			ReconciliationTimeout:   reconcileTimeout,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minBackoff, maxBackoff),
		})
	watches{reader: mgr.GetCache()}.add(b)
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("set up the %s controller: %w", name, err)
	}
	return nil
}

// Reconcile makes the engine hold what the cluster defines, and the statuses tell how that stands.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var list vaultv1alpha1.VaultRotationList
	if err := r.List(ctx, &list); err != nil {
		return ctrl.Result{}, fmt.Errorf("list the VaultRotations: %w", err)
	}
	set, err := r.resolve(ctx, list.Items)
	if err != nil {
		return ctrl.Result{}, err
	}
	inForce := r.PoliciesInForce() // before the engine is asked
	err = r.sync(ctx, set)
	if statusErr := r.writeStatuses(ctx, set, inForce); err == nil {
		err = statusErr
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if set.raced {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	return ctrl.Result{RequeueAfter: pace(set, r.Clock.Now(), inForce)}, nil
}

// sync hands the set to the engine, asks for the rotations that somebody wants, and finds out how all stand.
func (r *Reconciler) sync(ctx context.Context, set *rotations) error {
	if err := r.install(ctx, set.definitions()); err != nil {
		return err
	}
	if len(set.items) == 0 {
		return nil
	}
	if err := r.look(ctx, set); err != nil {
		return err
	}
	asked, err := r.request(ctx, set)
	if err != nil || !asked {
		return err
	}
	return r.look(ctx, set)
}

// install replaces the engine's set when it is another, and now and then in any case: a database that was restored to an older state, or edited, has
// another set, and no event in this cluster tells.
func (r *Reconciler) install(ctx context.Context, definitions []rotation.Definition) error {
	now := r.Clock.Now()
	if since := now.Sub(r.installedAt); !r.installedAt.IsZero() && since >= 0 && since < resyncInterval && reflect.DeepEqual(definitions, r.installed) {
		return nil
	}
	if _, err := r.Engine.ReplaceRotations(ctx, r.Cluster, definitions); err != nil {
		r.installedAt = time.Time{}
		return fmt.Errorf("bring the VaultRotations of cluster %s into force: %w", r.Cluster, err)
	}
	r.installed, r.installedAt = definitions, now
	return nil
}

// look finds out how the rotations stand.
func (r *Reconciler) look(ctx context.Context, set *rotations) error {
	standings, err := r.Engine.StandingRotations(ctx, r.Cluster)
	if err != nil {
		return fmt.Errorf("find out how the rotations of cluster %s stand: %w", r.Cluster, err)
	}
	byName := make(map[string]*rotation.Standing, len(standings))
	for i := range standings {
		byName[standings[i].Name] = &standings[i]
	}
	for i := range set.items {
		item := &set.items[i]
		item.standing = nil
		if item.problem == nil {
			item.standing = byName[item.object.Name]
		}
	}
	return nil
}
