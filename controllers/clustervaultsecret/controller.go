package clustervaultsecret

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
)

// The verb sync-as is for the admission policy of config/admission, which the
// VaultSecrets that the operator makes have to pass as well: which account a
// ClusterVaultSecret may name was asked of whoever wrote that.
//
// +kubebuilder:rbac:groups=vault.coffer.dev,resources=clustervaultsecrets,verbs=get;list;watch
// +kubebuilder:rbac:groups=vault.coffer.dev,resources=clustervaultsecrets/status,verbs=patch
// +kubebuilder:rbac:groups=vault.coffer.dev,resources=vaultsecrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=sync-as

// name of the controller, in logs and metrics.
const name = "clustervaultsecret"

// Bounds of the backoff of a ClusterVaultSecret after a failure that may pass by
// itself.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// reconcileTimeout bounds one reconcile. What is done by then stays done, and the next
// goes on from there.
const reconcileTimeout = 2 * time.Minute

// Reconciler keeps the VaultSecrets of a ClusterVaultSecret as the template says.
type Reconciler struct {
	// Client reads from the manager's cache and sees its own writes.
	client.Client
	Clock clock.PassiveClock

	withheld withheld
}

// New makes a reconciler and the indexes it needs. The cache of mgr must have been
// made with vaultsecret.CacheByObject, and see the whole cluster.
func New(mgr ctrl.Manager) (*Reconciler, error) {
	consistent, err := vaultsecret.NewClient(mgr)
	if err != nil {
		return nil, err
	}
	if err := addIndexes(mgr); err != nil {
		return nil, err
	}
	return &Reconciler{Client: consistent, Clock: clock.RealClock{}}, nil
}

// Setup adds a reconciler that New made to mgr.
func (r *Reconciler) Setup(mgr ctrl.Manager) error {
	w := watches{reader: mgr.GetCache()}
	err := ctrl.NewControllerManagedBy(mgr).
		Named(name).
		For(&vaultv1alpha1.ClusterVaultSecret{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{},
		))).
		Watches(&vaultv1alpha1.VaultSecret{}, w.vaultSecrets()).
		Watches(namespaceMetadata(), handler.EnqueueRequestsFromMapFunc(w.ofNamespace), builder.WithPredicates(namespaceChanges())).
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

// Reconcile brings the VaultSecrets of one ClusterVaultSecret into step.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	object := &vaultv1alpha1.ClusterVaultSecret{}
	if err := r.Get(ctx, req.NamespacedName, object); err != nil {
		if apierrors.IsNotFound(err) {
			r.withheld.forget(req.Name)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !object.DeletionTimestamp.IsZero() {
		r.withheld.forget(req.Name)
		return ctrl.Result{}, nil // the garbage collector does the rest
	}
	s := newScope(object)
	return r.finish(ctx, s, r.run(ctx, s))
}

// run goes through the steps until one fails. A namespace that fails is noted and
// stops no other.
func (r *Reconciler) run(ctx context.Context, s *scope) error {
	for _, step := range []func(context.Context, *scope) error{
		r.match,  // which namespaces
		r.gather, // what is there
		r.sync,   // make and update
		r.prune,  // take away
	} {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
