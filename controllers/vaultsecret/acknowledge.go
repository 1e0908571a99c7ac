package vaultsecret

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

const (
	// acknowledgeAfter is how long changes are gathered: a rotation that concerns a thousand
	// VaultSecrets is told in a few statements.
	acknowledgeAfter = 500 * time.Millisecond
	// acknowledgeAllEvery is how often all are compared with what is known: so what was taken
	// out of the database comes back to it.
	acknowledgeAllEvery = 5 * time.Minute
	// acknowledgeWithin bounds one call. The engine has a limit of its own.
	acknowledgeWithin = 30 * time.Second
	// maxAcknowledged is how many one call is about; of more all are told.
	maxAcknowledged = 2000
)

// acknowledgements tell the vault which versions each VaultSecret has, from their statuses
// as the cache has them, beside the reconciles. What is not told, because the operator or the
// database is away, is told when they are back: then all are compared.
type acknowledgements struct {
	to         Acknowledger
	cluster    string
	namespaces []string
	cache      cache.Cache
	logger     logr.Logger
	// late is how long the vault could not be told, in seconds.
	late prometheus.Gauge
	// failing is when it could not be told for the first time since it could; zero when it can.
	failing time.Time

	wake chan struct{}
	mu   sync.Mutex
	// changed are those to tell of; all of them when there are too many.
	changed map[types.NamespacedName]struct{}
	all     bool
}

func newAcknowledgements(mgr ctrl.Manager, opts Options, late prometheus.Gauge) *acknowledgements {
	return &acknowledgements{
		late: late,
		to:   opts.Acknowledger, cluster: opts.Cluster, namespaces: opts.Namespaces, cache: mgr.GetCache(),
		logger: mgr.GetLogger().WithName("acknowledgements"), wake: make(chan struct{}, 1),
	}
}

// Start implements manager.Runnable: it tells what changes until ctx ends. Only the leader
// is started.
func (a *acknowledgements) Start(ctx context.Context) error {
	informer, err := a.cache.GetInformer(ctx, &vaultv1alpha1.VaultSecret{})
	if err != nil {
		return fmt.Errorf("find the cache of VaultSecrets: %w", err)
	}
	registration, err := informer.AddEventHandler(a)
	if err != nil {
		return fmt.Errorf("follow the VaultSecrets: %w", err)
	}
	defer func() { _ = informer.RemoveEventHandler(registration) }()
	if !toolscache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil
	}
	a.demandAll()
	a.run(ctx)
	return nil
}

func (a *acknowledgements) run(ctx context.Context) {
	ticker := time.NewTicker(acknowledgeAllEvery)
	defer ticker.Stop()
	backoff := newAcknowledgeBackoff()
	for {
		pause := acknowledgeAfter
		err := a.tell(ctx)
		if ctx.Err() != nil {
			return
		}
		a.ended(err, time.Now())
		if err != nil {
			a.demandAll()
			pause = backoff.Step()
			a.logger.Error(err, "the vault was not told which versions the VaultSecrets have; trying again", "after", pause.String())
		} else {
			backoff = newAcknowledgeBackoff()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.demandAll()
		case <-a.wake:
		}
	}
}

// ended takes note of how a call of the vault ended.
func (a *acknowledgements) ended(err error, now time.Time) {
	switch {
	case err == nil:
		a.failing = time.Time{}
		a.late.Set(0)
		return
	case a.failing.IsZero():
		a.failing = now
	}
	a.late.Set(now.Sub(a.failing).Seconds())
}

func newAcknowledgeBackoff() wait.Backoff {
	return wait.Backoff{Duration: minBackoff, Factor: 2, Jitter: 0.1, Steps: 100, Cap: maxBackoff}
}

// tell tells of what changed since it was called last.
func (a *acknowledgements) tell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, acknowledgeWithin)
	defer cancel()
	changed, all := a.take()
	switch {
	case all:
		batch, err := a.list(ctx)
		if err != nil {
			return err
		}
		return a.to.AcknowledgeAll(ctx, a.cluster, a.namespaces, batch)
	case len(changed) == 0:
		return nil
	}
	batch, err := a.get(ctx, changed)
	if err != nil {
		return err
	}
	return a.to.Acknowledge(ctx, a.cluster, batch)
}

// take returns what is to be told, and forgets it.
func (a *acknowledgements) take() (changed []types.NamespacedName, all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed, all = slices.Collect(maps.Keys(a.changed)), a.all
	a.changed, a.all = nil, false
	return changed, all
}

func (a *acknowledgements) list(ctx context.Context) ([]secret.Acknowledgement, error) {
	var found vaultv1alpha1.VaultSecretList
	if err := a.cache.List(ctx, &found, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the VaultSecrets: %w", err)
	}
	batch := make([]secret.Acknowledgement, len(found.Items))
	for i := range found.Items {
		batch[i] = acknowledgementOf(&found.Items[i])
	}
	return batch, nil
}

// get reads the VaultSecrets as they are now. One that is gone has nothing.
func (a *acknowledgements) get(ctx context.Context, keys []types.NamespacedName) ([]secret.Acknowledgement, error) {
	batch := make([]secret.Acknowledgement, len(keys))
	for i, key := range keys {
		var object vaultv1alpha1.VaultSecret
		err := a.cache.Get(ctx, key, &object, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) {
			object.Namespace, object.Name, err = key.Namespace, key.Name, nil
		}
		if err != nil {
			return nil, fmt.Errorf("get the VaultSecret %s: %w", key, err)
		}
		batch[i] = acknowledgementOf(&object)
	}
	return batch, nil
}

// acknowledgementOf says what object has: the Secret of its status, and how many of the
// workloads that there are run with it. One whose rollout is not yet known to have succeeded
// does not: it may fail, and then goes back to a credential that must work.
func acknowledgementOf(object *vaultv1alpha1.VaultSecret) secret.Acknowledgement {
	a := secret.Acknowledgement{
		Kind: secret.ConsumerVaultSecret, Namespace: object.Namespace, Name: object.Name, UID: string(object.UID), State: readyReason(object),
	}
	for _, source := range object.Status.Sources {
		if path, err := secret.ParsePath(source.Path); err == nil && source.Version > 0 {
			a.Sources = append(a.Sources, secret.HeldVersion{Path: path, Version: source.Version})
		}
	}
	for _, workload := range object.Status.Workloads {
		if workload.State == vaultv1alpha1.WorkloadNotFound {
			continue
		}
		a.Workloads++
		if workload.State == vaultv1alpha1.WorkloadCurrent && workload.RollingSince == nil {
			a.Rolled++
		}
	}
	return a
}

// OnAdd implements cache.ResourceEventHandler.
func (a *acknowledgements) OnAdd(obj any, isInInitialList bool) {
	if !isInInitialList { // all of those are told of
		a.change(nil, vaultSecretOf(obj))
	}
}

// OnUpdate implements cache.ResourceEventHandler.
func (a *acknowledgements) OnUpdate(before, now any) {
	a.change(vaultSecretOf(before), vaultSecretOf(now))
}

// OnDelete implements cache.ResourceEventHandler.
func (a *acknowledgements) OnDelete(obj any) {
	if last, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	a.change(vaultSecretOf(obj), nil)
}

// change notes that a VaultSecret is another one; nil is none.
func (a *acknowledgements) change(before, now *vaultv1alpha1.VaultSecret) {
	object := now
	switch {
	case now == nil && before == nil:
		return
	case now == nil:
		object = before
	case before != nil && reflect.DeepEqual(acknowledgementOf(before), acknowledgementOf(now)):
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed == nil {
		a.changed = map[types.NamespacedName]struct{}{}
	}
	a.changed[types.NamespacedName{Namespace: object.Namespace, Name: object.Name}] = struct{}{}
	a.all = a.all || len(a.changed) > maxAcknowledged
	a.wakeUp()
}

// demandAll has all told anew.
func (a *acknowledgements) demandAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = true
	a.wakeUp()
}

func (a *acknowledgements) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
