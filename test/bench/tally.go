package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// numberDigits begin each value of the benchmark: which value of its path it is.
const numberDigits = 8

// tally follows the Secrets and VaultSecrets of the API server by informers.
type tally struct {
	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, at each change
	secrets map[types.NamespacedName]seen
	// numbers counts the Secrets by the number that their value begins with; versions the
	// VaultSecrets by the version that their status tells; ready those that are Ready.
	numbers  map[int]int
	versions map[int64]int
	status   map[types.NamespacedName]told
	ready    int
	// first is when the first Secret came.
	first time.Time
	// own counts the writes of what is of the installation itself and of no VaultSecret: the
	// Secret of its certificate, and the event that tells who leads.
	own int
}

// seen is a Secret: the number of its value, and when that came.
type seen struct {
	number int
	at     time.Time
}

type told struct {
	version int64
	ready   bool
}

// follow starts a tally, which ends with ctx. Its informers watch again where the API
// server ends a watch, as it does with those that are slow.
func (p *controlPlane) follow(ctx context.Context) *tally {
	t := &tally{
		changed: make(chan struct{}), secrets: map[types.NamespacedName]seen{}, numbers: map[int]int{},
		versions: map[int64]int{}, status: map[types.NamespacedName]told{},
	}
	for object, newList := range map[client.Object]func() client.ObjectList{
		&corev1.Secret{}:             func() client.ObjectList { return &corev1.SecretList{} },
		&vaultv1alpha1.VaultSecret{}: func() client.ObjectList { return &vaultv1alpha1.VaultSecretList{} },
		&corev1.Event{}:              func() client.ObjectList { return &corev1.EventList{} },
	} {
		_, informer := toolscache.NewInformerWithOptions(toolscache.InformerOptions{
			ObjectType: object,
			ListerWatcher: &toolscache.ListWatch{
				ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
					list := newList()
					return list, p.client.List(ctx, list, &client.ListOptions{Raw: &options})
				},
				WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
					return p.client.Watch(ctx, newList(), &client.ListOptions{Raw: &options})
				},
			},
			Handler: toolscache.ResourceEventHandlerFuncs{
				AddFunc:    func(object any) { t.take(object, false) },
				UpdateFunc: func(_, object any) { t.take(object, false) },
				DeleteFunc: func(object any) { t.take(object, true) },
			},
		})
		go informer.RunWithContext(ctx)
	}
	return t
}

// take counts an object as it is now, or not any more.
func (t *tally) take(object any, gone bool) {
	now := time.Now()
	if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if o, ok := object.(client.Object); ok && o.GetNamespace() == installation {
		t.own++
	}
	switch o := object.(type) {
	case *corev1.Secret:
		t.secret(o, gone, now)
	case *vaultv1alpha1.VaultSecret:
		t.vaultSecret(o, gone)
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tally) secret(s *corev1.Secret, gone bool, now time.Time) {
	key := client.ObjectKeyFromObject(s)
	if before, known := t.secrets[key]; known {
		t.numbers[before.number]--
	}
	if gone {
		delete(t.secrets, key)
		return
	}
	value := s.Data["value"]
	number, err := strconv.Atoi(string(value[:min(len(value), numberDigits)]))
	if err != nil {
		return // not one of the benchmark's
	}
	if t.first.IsZero() {
		t.first = now
	}
	if before, known := t.secrets[key]; known && before.number == number {
		now = before.at
	}
	t.secrets[key] = seen{number, now}
	t.numbers[number]++
}

func (t *tally) vaultSecret(v *vaultv1alpha1.VaultSecret, gone bool) {
	key := client.ObjectKeyFromObject(v)
	before := t.status[key]
	t.versions[before.version]--
	if before.ready {
		t.ready--
	}
	if gone {
		delete(t.status, key)
		return
	}
	now := told{v.Status.Version, meta.IsStatusConditionTrue(v.Status.Conditions, vaultv1alpha1.ConditionReady)}
	t.status[key] = now
	t.versions[now.version]++
	if now.ready {
		t.ready++
	}
}

// forget begins anew with the first Secret to come.
func (t *tally) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first = time.Time{}
}

// ownWrites is how many writes of the installation's own there were so far.
func (t *tally) ownWrites() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return float64(t.own)
}

// until waits until ok, which is called with the tally locked, says yes.
func (t *tally) until(ctx context.Context, ok func() bool) error {
	for {
		t.mu.Lock()
		done, changed := ok(), t.changed
		t.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reached is when the Secret came to have the value of that number.
func (t *tally) reached(ctx context.Context, key types.NamespacedName, number int) (at time.Time, err error) {
	err = t.until(ctx, func() bool {
		at = t.secrets[key].at
		return t.secrets[key].number >= number
	})
	return at, err
}
