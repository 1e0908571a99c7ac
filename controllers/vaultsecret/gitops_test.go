package vaultsecret_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// A GitOps controller that applies the same YAML again finds nothing to change, and
// shows no diff, after the operator has done its work.
func TestGitOpsSeesNoDiff(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.putSamples()
	samples := vaultSecretSamples(t)
	for _, file := range samples {
		t.Run(strings.TrimPrefix(file, "../../config/samples/"), func(t *testing.T) {
			w := w.within(t)
			file, object := w.sample(file)
			w.kubectl("apply", "--server-side", "--field-manager=gitops", "-f", file)
			w.ready(object)
			before := object.DeepCopy()
			if diff := w.kubectl("diff", "--server-side", "--field-manager=gitops", "-f", file); diff != "" {
				t.Errorf("the diff is:\n%s", diff)
			}
			w.kubectl("apply", "--server-side", "--field-manager=gitops", "-f", file)
			if diff := cmp.Diff(before, refreshed(w, object)); diff != "" {
				t.Errorf("the second apply changed the object (-before +after):\n%s", diff)
			}
			ownedBy(t, object.ManagedFields)
		})
	}
	if len(samples) < 8 {
		t.Errorf("only %d samples were applied", len(samples))
	}
}

// within is the same world for a subtest, which fails by itself.
func (w *world) within(t *testing.T) *world {
	same := *w
	same.t = t
	return &same
}

// ownedBy checks that the operator owns the status and nothing else.
func ownedBy(t *testing.T, fields []metav1.ManagedFieldsEntry) {
	t.Helper()
	owners := map[string]bool{}
	for _, f := range fields {
		owners[fmt.Sprintf("%s %s/%s", f.Operation, f.Manager, f.Subresource)] = true
	}
	if diff := cmp.Diff(map[string]bool{"Apply gitops/": true, "Update coffer/status": true}, owners); diff != "" {
		t.Errorf("owners of fields (-want +got):\n%s", diff)
	}
}

// sample writes the VaultSecret of a file into another one for the world's namespace.
func (w *world) sample(file string) (string, *vaultv1alpha1.VaultSecret) {
	w.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	fields := map[string]any{}
	if err := yaml.Unmarshal(text, &fields); err != nil {
		w.t.Fatalf("%s: %v", file, err)
	}
	metadata := fields["metadata"].(map[string]any)
	metadata["namespace"] = w.namespace
	if text, err = yaml.Marshal(fields); err != nil {
		w.t.Fatal(err)
	}
	copied := filepath.Join(w.t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return copied, &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: metadata["name"].(string)}}
}
