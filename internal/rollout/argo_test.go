package rollout

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What the cache keeps of an Argo Rollout tells what the whole tells, however often it
// was stripped; other kinds, and a Rollout without a usable template, do no harm.
func TestStripArgoRollout(t *testing.T) {
	u := newArgoRollout()
	u.SetName("r")
	u.SetResourceVersion("7")
	u.SetGeneration(2)
	u.SetLabels(map[string]string{"team": "payments"})
	u.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"})
	u.Object["spec"] = map[string]any{
		"strategy": map[string]any{"canary": map[string]any{}},
		"template": map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{StampAnnotation("s"): "1", "other": "x"}},
			"spec": map[string]any{"containers": []any{map[string]any{"name": "main", "envFrom": []any{
				map[string]any{"secretRef": map[string]any{"name": "s"}},
			}}}},
		},
	}
	u.Object["status"] = map[string]any{"observedGeneration": "2", "phase": "Healthy", "conditions": []any{}}
	whole, _ := FromObject(u.DeepCopy())
	once, err := Strip(u)
	if err != nil {
		t.Fatal(err)
	}
	stripped := once.(*unstructured.Unstructured)
	twice, err := Strip(stripped.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stripped, twice); diff != "" {
		t.Errorf("stripped again it differs (-once +twice):\n%s", diff)
	}
	w, ok := FromObject(stripped)
	if !ok || !w.Uses("s") || w.Stamp("s") != "1" {
		t.Errorf("the stripped one is %+v", w)
	}
	if len(w.Template.Spec.Containers) != 0 || len(w.Template.Annotations) != 1 {
		t.Errorf("of the template is kept %+v", w.Template)
	}
	state, _ := w.State()
	if want, _ := whole.State(); state != want {
		t.Errorf("the state is %s, and was %s", state, want)
	}
	if stripped.GetResourceVersion() != "7" || stripped.GetLabels()["team"] != "payments" || stripped.GetAnnotations() != nil {
		t.Errorf("the metadata are %v", stripped.Object["metadata"])
	}
	if _, found, _ := unstructured.NestedMap(stripped.Object, "spec", "strategy"); found {
		t.Error("what is not read is kept")
	}

	for name, spec := range map[string]any{
		"of a Deployment": map[string]any{"workloadRef": map[string]any{"name": "api"}}, "without a spec": nil,
		"with a list": map[string]any{"template": []any{"x"}}, "with numbers": map[string]any{"template": map[string]any{"spec": int64(3)}},
	} {
		odd := newArgoRollout()
		odd.SetName("odd")
		odd.Object["spec"] = spec
		kept, err := Strip(odd)
		if err != nil {
			t.Errorf("a Rollout %s: %v", name, err)
			continue
		}
		if _, ok := FromObject(kept.(*unstructured.Unstructured)); ok {
			t.Errorf("a Rollout %s is a workload", name)
		}
	}
	other := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"a": "b"}}}
	if kept, err := Strip(other.DeepCopy()); err != nil || !cmp.Equal(other, kept) {
		t.Errorf("another kind is stripped to %v, %v", kept, err)
	}
}
