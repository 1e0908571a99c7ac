package vaultsecret

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/coffer-vault/coffer/internal/vault/changes"
)

// followAgain is the wait before a change source that failed is followed again.
const followAgain = time.Second

// changeFeed is a controller-runtime source: it enqueues exactly the VaultSecrets
// that use the path of a change. Events carry names and merely enqueue; what is
// true is read from the vault.
type changeFeed struct {
	source  ChangeSource
	watches watches
	logger  logr.Logger
}

// Start implements source.Source.
func (f *changeFeed) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	go f.follow(ctx, queue)
	return nil
}

// follow follows until ctx ends. When the source fails, changes may have been
// missed: then everything is looked at again.
func (f *changeFeed) follow(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		err := f.source.Follow(ctx, func(ctx context.Context, batch []changes.Change) error {
			f.enqueue(ctx, queue, batch)
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		f.logger.Error(err, "the change feed ended; every VaultSecret is looked at, and it is followed again")
		for _, request := range f.watches.list(ctx) {
			queue.Add(request)
		}
	}, followAgain)
}

func (f *changeFeed) enqueue(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request], batch []changes.Change) {
	for _, change := range batch {
		for _, request := range f.watches.ofChange(ctx, change) {
			if change.Kind != changes.Policy {
				f.watches.metrics.enqueued(request.NamespacedName, change.CommittedAt)
			}
			queue.Add(request)
		}
	}
}

// ofChange finds the VaultSecrets that use the path, or a prefix that it lies below;
// one that names both comes twice, and is queued once. A change of policy concerns
// all: anybody's rights may have changed.
func (w watches) ofChange(ctx context.Context, change changes.Change) []reconcile.Request {
	if change.Kind == changes.Policy {
		return w.list(ctx)
	}
	var requests []reconcile.Request
	for _, key := range wokenBy(change.Path.String()) {
		requests = append(requests, w.list(ctx, client.MatchingFields{pathIndex: key})...)
	}
	return requests
}
