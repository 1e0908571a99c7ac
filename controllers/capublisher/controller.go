package capublisher

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// A list or a watch with the name as field selector is one of that name for the API
// server's authoriser, also of all namespaces. The name of what is made is not known to it.
//
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=create
// +kubebuilder:rbac:groups="",resources=configmaps,resourceNames=coffer-ca,verbs=get;list;watch;update;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch

// name of the controller, in logs, metrics and Events.
const name = "capublisher"

// Bounds of the backoff while the API server refuses a write.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// reconcileTimeout bounds one reconcile: at most two reads and a write.
const reconcileTimeout = 30 * time.Second

// Options of Setup.
type Options struct {
	// Namespace is the installation's own, which has the original.
	Namespace string
	// Supplied says that the API's certificate is a supplied one: without an original,
	// clients trust the system's authorities, and a copy holds none.
	Supplied bool
}

// Reconciler keeps the copy of one namespace.
type Reconciler struct {
	// Client reads metadata from the manager's cache.
	client.Client

	live     client.Reader // reads what ConfigMaps hold
	recorder events.EventRecorder
	opts     Options
}

// Setup adds the reconciler to mgr, whose cache must have been made with CacheByObject.
func Setup(mgr ctrl.Manager, opts Options) error {
	r := &Reconciler{Client: mgr.GetClient(), live: mgr.GetAPIReader(), recorder: mgr.GetEventRecorder(name), opts: opts}
	w := watches{reader: mgr.GetCache(), own: opts.Namespace}
	err := ctrl.NewControllerManagedBy(mgr).
		Named(name).
		Watches(namespaceMetadata(), handler.EnqueueRequestsFromMapFunc(w.ofNamespace), builder.WithPredicates(askingChanges())).
		Watches(Metadata(), handler.EnqueueRequestsFromMapFunc(w.ofConfigMap)).
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

// Reconcile publishes in the namespace that the request names, or withdraws from it.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if req.Name == r.opts.Namespace {
		return ctrl.Result{}, nil // it has the original
	}
	namespace := namespaceMetadata()
	if err := r.Get(ctx, req.NamespacedName, namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !namespace.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // the copy goes with it
	}
	if asks(namespace) {
		return ctrl.Result{}, r.publish(ctx, req.Name)
	}
	return ctrl.Result{}, r.withdraw(ctx, req.Name)
}

// withdraw deletes the copy of a namespace that asks for none.
func (r *Reconciler) withdraw(ctx context.Context, namespace string) error {
	existing := Metadata()
	err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ConfigMapName}, existing)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("look for the published authority: %w", err)
	case !r.owns(existing):
		return nil
	}
	return r.remove(ctx, existing)
}
