package vaultpolicy

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/policy"
)

// +kubebuilder:rbac:groups=vault.coffer.dev,resources=vaultpolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=vault.coffer.dev,resources=vaultpolicies/status,verbs=patch

// name of the controller.
const name = "vaultpolicy"

// Bounds of the backoff while the vault's database does not answer.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// resyncInterval is how often the engine's set is compared with the cluster's when
// nothing happens here: a database that was restored to an older state, or edited,
// has another set, and no event in this cluster tells. It costs one query.
const resyncInterval = time.Minute

// reconcileTimeout bounds one sync.
const reconcileTimeout = time.Minute

// everything is the one request of this controller.
var everything = reconcile.Request{NamespacedName: client.ObjectKey{Name: "all"}}

// Engine is what the reconciler needs of the vault.
type Engine interface {
	// ReplacePolicies makes policies the whole set of the cluster; changed is false
	// when they were already.
	ReplacePolicies(ctx context.Context, cluster string, policies []policy.Policy) (changed bool, err error)
}

// Options of Setup.
type Options struct {
	Engine Engine
	// Cluster is the name of this cluster in the vault's policies.
	Cluster string
	// Clock tells which rules have expired; the real one when nil.
	Clock clock.PassiveClock
	// OnSync, when not nil, is called after each time that the engine was found or
	// made to enforce what the cluster holds.
	OnSync func()
}

// Reconciler syncs all VaultPolicies at once.
type Reconciler struct {
	client.Client
	Engine  Engine
	Cluster string
	Clock   clock.PassiveClock
	OnSync  func()
}

// Setup adds the reconciler to mgr.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.OnSync == nil {
		opts.OnSync = func() {}
	}
	r := &Reconciler{Client: mgr.GetClient(), Engine: opts.Engine, Cluster: opts.Cluster, Clock: opts.Clock, OnSync: opts.OnSync}
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{everything}
	})
	// Without this a cluster that has lost its last policy while the operator was
	// away would keep it in force, and one that never had any would stay unknown.
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(everything)
		return nil
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named(name).
		Watches(&vaultv1alpha1.VaultPolicy{}, all, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(atStart).
		WithOptions(controller.Options{
			ReconciliationTimeout: reconcileTimeout,
			RateLimiter:           workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minBackoff, maxBackoff),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the %s controller: %w", name, err)
	}
	return nil
}

// Reconcile makes the engine enforce what the cluster holds.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var list vaultv1alpha1.VaultPolicyList
	if err := r.List(ctx, &list); err != nil {
		return ctrl.Result{}, fmt.Errorf("list the VaultPolicies: %w", err)
	}
	now := r.Clock.Now()
	set := convertAll(list.Items, now)
	err := r.replace(ctx, set)
	if statusErr := r.writeStatuses(ctx, set, err); err == nil {
		err = statusErr
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: set.nextLook(now)}, nil
}

// replace hands the set to the engine, unless that would take away a denial.
func (r *Reconciler) replace(ctx context.Context, set converted) error {
	if set.blocked() {
		return nil
	}
	if _, err := r.Engine.ReplacePolicies(ctx, r.Cluster, set.policies); err != nil {
		return fmt.Errorf("bring the VaultPolicies of cluster %s into force: %w", r.Cluster, err)
	}
	r.OnSync()
	return nil
}
