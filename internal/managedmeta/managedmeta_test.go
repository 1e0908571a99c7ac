package managedmeta

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

type values = map[string]string

// What was wanted comes and goes; what others put there stays.
func TestApply(t *testing.T) {
	const key = vaultv1alpha1.ManagedMetadataAnnotation
	for name, test := range map[string]struct {
		have, want          metav1.ObjectMeta
		labels, annotations values
	}{
		"first": {
			have:   metav1.ObjectMeta{Labels: values{"theirs": "x"}},
			labels: values{"team": "payments"}, annotations: values{"b": "2", "a": "1"},
			want: metav1.ObjectMeta{
				Labels:      values{"theirs": "x", "team": "payments"},
				Annotations: values{"a": "1", "b": "2", key: `{"labels":["team"],"annotations":["a","b"]}`},
			},
		},
		"others are wanted": {
			have: metav1.ObjectMeta{
				Labels:      values{"team": "payments", "tier": "db", "theirs": "x"},
				Annotations: values{"a": "1", "theirs": "y", key: `{"labels":["team","tier"],"annotations":["a"]}`},
			},
			labels: values{"team": "platform"},
			want: metav1.ObjectMeta{
				Labels:      values{"team": "platform", "theirs": "x"},
				Annotations: values{"theirs": "y", key: `{"labels":["team"]}`},
			},
		},
		"none is wanted any more": {
			have: metav1.ObjectMeta{
				Labels: values{"team": "payments"}, Annotations: values{"theirs": "y", key: `{"labels":["team"]}`},
			},
			want: metav1.ObjectMeta{Labels: values{}, Annotations: values{"theirs": "y"}},
		},
		"none was ever wanted": {want: metav1.ObjectMeta{Labels: values{}, Annotations: values{}}},
		"somebody edited the note": {
			have:   metav1.ObjectMeta{Labels: values{"tier": "db"}, Annotations: values{key: `["tier"`}},
			labels: values{"team": "payments"},
			want: metav1.ObjectMeta{
				Labels: values{"tier": "db", "team": "payments"}, Annotations: values{key: `{"labels":["team"]}`},
			},
		},
	} {
		got := test.have.DeepCopy()
		if err := Apply(got, test.labels, test.annotations); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Whatever stands in the note, one Apply puts all right: what is wanted is there, what
// the note does not name is left alone, and a second Apply changes nothing.
func TestApplyIsDoneAtOnce(t *testing.T) {
	keys := rapid.SampledFrom([]string{"a", "b", "c", "d", vaultv1alpha1.ManagedMetadataAnnotation})
	some := rapid.MapOf(keys, rapid.SampledFrom([]string{"", "1", "2"}))
	names := rapid.SliceOfN(keys, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		have := metav1.ObjectMeta{Labels: some.Draw(t, "labels"), Annotations: some.Draw(t, "annotations")}
		noted := note{names.Draw(t, "noted labels"), names.Draw(t, "noted annotations")}
		encoded, err := json.Marshal(noted)
		if err != nil {
			t.Fatal(err)
		}
		have.Annotations[vaultv1alpha1.ManagedMetadataAnnotation] = string(encoded)
		labels, annotations := some.Draw(t, "wanted labels"), some.Draw(t, "wanted annotations")
		delete(annotations, vaultv1alpha1.ManagedMetadataAnnotation) // the CRD refuses it

		got := have.DeepCopy()
		if err := Apply(got, labels, annotations); err != nil {
			t.Fatal(err)
		}
		check(t, "label", have.Labels, noted.Labels, labels, got.Labels)
		delete(have.Annotations, vaultv1alpha1.ManagedMetadataAnnotation)
		withoutNote := maps.Clone(got.Annotations)
		delete(withoutNote, vaultv1alpha1.ManagedMetadataAnnotation)
		check(t, "annotation", have.Annotations, noted.Annotations, annotations, withoutNote)

		again := got.DeepCopy()
		if err := Apply(again, labels, annotations); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("a second time changes (-first +second):\n%s", diff)
		}
	})
}

func check(t *rapid.T, what string, have values, noted []string, wanted, got values) {
	for key, value := range wanted {
		if got[key] != value {
			t.Errorf("the %s %s is %q, want %q", what, key, got[key], value)
		}
	}
	for key, value := range got {
		if _, is := wanted[key]; !is && (have[key] != value || slices.Contains(noted, key)) {
			t.Errorf("the %s %s=%q is wanted by nobody", what, key, value)
		}
	}
	for key := range have {
		if _, is := got[key]; !is && !slices.Contains(noted, key) {
			t.Errorf("the %s %s of others is gone", what, key)
		}
	}
}
