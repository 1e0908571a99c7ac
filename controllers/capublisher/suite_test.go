package capublisher_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/capublisher"
	"github.com/coffer-vault/coffer/internal/testkit"
)

const (
	crds = "../../config/crd/bases"
	role = "../../config/rbac/role.yaml"
	// operatorUser is bound to the ClusterRole that is deployed, and to nothing else.
	operatorUser = "coffer-operator"
	// deadline is how long something may take to come true on a loaded machine.
	deadline = 60 * time.Second
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// world is an installation's namespace, and operators of it, on a real API server. They
// see the whole cluster, so the tests of this package run one after the other.
type world struct {
	t      *testing.T
	config *rest.Config
	client client.Client // an administrator's, without cache
	own    string
}

func newWorld(t *testing.T, own string) *world {
	t.Helper()
	config := testkit.Kube(t, crds)
	config.QPS = -1
	admin, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, config: config, client: admin, own: own}
	w.bindRole()
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: own}})
	return w
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, object := range objects {
		if err := w.client.Create(w.t.Context(), object); err != nil {
			w.t.Fatalf("create %T: %v", object, err)
		}
	}
}

func (w *world) bindRole() {
	w.t.Helper()
	text, err := os.ReadFile(role)
	if err != nil {
		w.t.Fatal(err)
	}
	clusterRole := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(text, clusterRole); err != nil {
		w.t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: operatorUser},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operatorUser}},
	}
	for _, object := range []client.Object{clusterRole, binding} {
		if err := w.client.Create(w.t.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
			w.t.Fatal(err)
		}
	}
}

// start starts a manager as internal/app does, of the whole cluster. The result ends it.
func (w *world) start(supplied bool) (stop func()) {
	w.t.Helper()
	asOperator := rest.CopyConfig(w.config)
	asOperator.Impersonate.UserName = operatorUser
	mgr, err := ctrl.NewManager(asOperator, ctrl.Options{
		Scheme:     clientgoscheme.Scheme,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
		Cache:      cache.Options{ByObject: capublisher.CacheByObject(nil)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := capublisher.Setup(mgr, capublisher.Options{Namespace: w.own, Supplied: supplied}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the manager ended with %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// namespace makes one; it asks for the authority, or does not, and ceases to with the test.
func (w *world) namespace(name string, asking bool) {
	w.t.Helper()
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: asked(asking)}})
	w.t.Cleanup(func() {
		if err := w.ask(context.Background(), name, false); err != nil {
			w.t.Error(err)
		}
	})
}

func asked(asking bool) map[string]string {
	if asking {
		return map[string]string{vaultv1alpha1.InjectionLabel: vaultv1alpha1.InjectionEnabled}
	}
	return nil
}

func (w *world) ask(ctx context.Context, name string, asking bool) error {
	value := "null"
	if asking {
		value = `"` + vaultv1alpha1.InjectionEnabled + `"`
	}
	return w.client.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"labels": {"`+vaultv1alpha1.InjectionLabel+`": `+value+`}}}`)))
}

// original writes what internal/servercert does, and returns it.
func (w *world) original(authority string) *corev1.ConfigMap {
	w.t.Helper()
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.own, Name: capublisher.ConfigMapName, Labels: map[string]string{vaultv1alpha1.ManagedByLabel: vaultv1alpha1.ManagedByValue},
		},
		Data: map[string]string{capublisher.Key: authority},
	}
	if err := w.client.Create(w.t.Context(), object); apierrors.IsAlreadyExists(err) {
		err = w.client.Update(w.t.Context(), object)
		if err != nil {
			w.t.Fatal(err)
		}
	} else if err != nil {
		w.t.Fatal(err)
	}
	return object
}

// copied is the ConfigMap of a namespace; nil when there is none.
func (w *world) copied(namespace string) *corev1.ConfigMap {
	w.t.Helper()
	object := &corev1.ConfigMap{}
	err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: capublisher.ConfigMapName}, object)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return object
}

// holds returns nil when the namespace has a copy of this installation with just this authority.
func (w *world) holds(namespace, authority string) error {
	switch object := w.copied(namespace); {
	case object == nil:
		return errors.New("there is no ConfigMap")
	case object.Labels[vaultv1alpha1.AuthorityOfLabel] != w.own:
		return fmt.Errorf("its labels are %v", object.Labels)
	case object.Data[capublisher.Key] != authority || len(object.Data) > 1 || len(object.BinaryData) > 0:
		return fmt.Errorf("it holds %v", object.Data)
	}
	return nil
}

func (w *world) gone(namespace string) error {
	if w.copied(namespace) != nil {
		return errors.New("the ConfigMap is still there")
	}
	return nil
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
