// Package managedmeta keeps the labels and annotations that Coffer puts on an object
// apart from those that others put there: what it put is noted on the object, so that it
// can be taken away again when it is wanted no more.
package managedmeta

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// note lists the names of the labels and annotations that Coffer put there, sorted.
type note struct {
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
}

// Apply puts labels and annotations on object, and takes those away that the Apply
// before put there and that are wanted no more. Others stay. It notes the names in the
// annotation vault.coffer.dev/managed-metadata, and nothing where nothing is wanted. Both
// maps of object are there afterwards. It fails only when the names cannot be encoded.
func Apply(object *metav1.ObjectMeta, labels, annotations map[string]string) error {
	var earlier note
	// An unreadable note is somebody's edit: there is nothing to take away then.
	_ = json.Unmarshal([]byte(object.Annotations[vaultv1alpha1.ManagedMetadataAnnotation]), &earlier)
	object.Labels = replaced(object.Labels, earlier.Labels, labels)
	object.Annotations = replaced(object.Annotations, earlier.Annotations, annotations)
	delete(object.Annotations, vaultv1alpha1.ManagedMetadataAnnotation)
	if len(labels)+len(annotations) == 0 {
		return nil
	}
	encoded, err := json.Marshal(note{Labels: slices.Sorted(maps.Keys(labels)), Annotations: slices.Sorted(maps.Keys(annotations))})
	if err != nil {
		return fmt.Errorf("encode the names of labels and annotations: %w", err)
	}
	object.Annotations[vaultv1alpha1.ManagedMetadataAnnotation] = string(encoded)
	return nil
}

// replaced is have without what was wanted earlier, and with what is wanted now.
func replaced(have map[string]string, earlier []string, wanted map[string]string) map[string]string {
	out := make(map[string]string, len(have)+len(wanted)+1)
	maps.Copy(out, have)
	for _, key := range earlier {
		delete(out, key)
	}
	maps.Copy(out, wanted)
	return out
}
