package kubeproxy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/kubeproxy"
)

// Each request is told by what RBAC calls it, with what it selects and the form that it
// wants.
func TestRequests(t *testing.T) {
	proxy := kubeproxy.Start(t, testkit.Kube(t, "../testdata/crd"))
	c, err := client.NewWithWatch(proxy.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "told"}}
	metadata := &metav1.PartialObjectMetadataList{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	for what, do := range map[string]func() error{
		"create configmaps default/":                  func() error { return c.Create(t.Context(), object.DeepCopy()) },
		"get configmaps default/told":                 func() error { return c.Get(t.Context(), client.ObjectKeyFromObject(object), object.DeepCopy()) },
		"list configmaps default/":                    func() error { return c.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("default")) },
		"list configmaps / a=b":                       func() error { return c.List(t.Context(), &corev1.ConfigMapList{}, client.MatchingLabels{"a": "b"}) },
		"list namespaces / PartialObjectMetadataList": func() error { return c.List(t.Context(), metadata) },
		"get namespaces /default":                     func() error { return c.Get(t.Context(), client.ObjectKey{Name: "default"}, &corev1.Namespace{}) },
		"patch namespaces/status /default": func() error {
			return c.Status().Patch(t.Context(), namespace("default"), client.RawPatch("application/merge-patch+json", []byte(`{}`)))
		},
		"patch configmaps default/told": func() error {
			return c.Patch(t.Context(), object.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{}`)))
		},
		"update configmaps default/told":       func() error { return c.Update(t.Context(), object.DeepCopy()) },
		"delete configmaps default/told":       func() error { return c.Delete(t.Context(), object.DeepCopy()) },
		"deletecollection configmaps default/": func() error { return c.DeleteAllOf(t.Context(), &corev1.ConfigMap{}, client.InNamespace("default")) },
		"watch configmaps default/": func() error {
			w, err := c.Watch(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("default"))
			if err == nil {
				w.Stop()
			}
			return err
		},
	} {
		before := len(proxy.Requests())
		_ = do() // what becomes of it is nothing to the proxy
		requests := proxy.Requests()[before:]
		if len(requests) != 1 {
			t.Errorf("%s: %d requests are told: %+v", what, len(requests), requests)
			continue
		}
		r := requests[0]
		got := r.Verb + " " + r.Resource + " " + r.Namespace + "/" + r.Name
		if selector := r.Query.Get("labelSelector"); selector != "" {
			got += " " + selector
		}
		if r.WantsMetadata() {
			got += " PartialObjectMetadataList"
		}
		if diff := cmp.Diff(what, got); diff != "" {
			t.Errorf("the request (-want +got):\n%s", diff)
		}
	}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}
