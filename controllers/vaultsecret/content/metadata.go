package content

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/safetemplate"
)

// ours is the domain of the labels and annotations that are Coffer's own.
const ours = "vault.coffer.dev"

// Bounds of a spec, as the CRD has them.
const (
	maxData     = 256
	maxDataFrom = 64
)

// Validate refuses what of spec is wrong whatever the vault holds, so that nothing is
// read for it. The CRD says most of it at once; this holds for objects from before.
func Validate(spec *vaultv1alpha1.VaultSecretSpec) error {
	if len(spec.Data) > maxData || len(spec.DataFrom) > maxDataFrom {
		return fmt.Errorf("%w: it has %d entries in data and %d in dataFrom; at most %d and %d are allowed", ErrInvalidSpec, len(spec.Data), len(spec.DataFrom), maxData, maxDataFrom)
	}
	if err := checkTarget(&spec.Target); err != nil {
		return err
	}
	spent := 0
	for i := range spec.DataFrom {
		if _, err := newRenamer(spec.DataFrom[i].Rename, &spent); err != nil {
			return fmt.Errorf("%w: dataFrom[%d].%w", ErrInvalidSpec, i, err)
		}
	}
	target := &spec.Target
	if err := safetemplate.Check(target.Template); err != nil {
		return err
	}
	for what, metadata := range map[string]map[string]string{"label": target.Labels, "annotation": target.Annotations} {
		for _, key := range slices.Sorted(maps.Keys(metadata)) {
			if reserved(key) {
				return fmt.Errorf("%w: the %s %s is Coffer's own; choose another", ErrInvalidSpec, what, key)
			}
		}
	}
	wrong := metav1validation.ValidateLabels(target.Labels, field.NewPath("target", "labels"))
	wrong = append(wrong, apivalidation.ValidateAnnotations(target.Annotations, field.NewPath("target", "annotations"))...)
	if len(wrong) > 0 {
		return fmt.Errorf("%w: spec.%s: %s", ErrInvalidSpec, wrong[0].Field, wrong[0].Detail)
	}
	return nil
}

// identityTypes are the types of Secrets from which Kubernetes, or those who trust it,
// take who somebody is: it fills in a token for the first.
var identityTypes = []corev1.SecretType{corev1.SecretTypeServiceAccountToken, "bootstrap.kubernetes.io/token"}

func checkTarget(target *vaultv1alpha1.VaultSecretTarget) error {
	if slices.Contains(identityTypes, corev1.SecretType(target.Type)) {
		return fmt.Errorf("%w: spec.target.type %s grants a Kubernetes identity; use Opaque or a type for your credential", ErrInvalidSpec, target.Type)
	}
	if target.Name == "" {
		return nil
	}
	if wrong := apivalidation.NameIsDNSSubdomain(target.Name, false); len(wrong) > 0 {
		return fmt.Errorf("%w: spec.target.name %q cannot be the name of a Secret: %s", ErrInvalidSpec, abbreviate(target.Name), wrong[0])
	}
	return nil
}

func reserved(key string) bool {
	domain, _, named := strings.Cut(key, "/")
	return key == vaultv1alpha1.ManagedByLabel || named && (domain == ours || strings.HasSuffix(domain, "."+ours))
}
