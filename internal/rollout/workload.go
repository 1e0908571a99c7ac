package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// Kinds of workload.
const (
	KindDeployment  = "Deployment"
	KindStatefulSet = "StatefulSet"
	KindDaemonSet   = "DaemonSet"
	KindArgoRollout = "Rollout"
)

// Workload is a Deployment, StatefulSet, DaemonSet or Argo Rollout, seen as what owns
// a pod template.
type Workload struct {
	Kind     string
	Object   client.Object
	Template *corev1.PodTemplateSpec
}

// FromObject sees obj as a Workload; ok is false for any other type.
func FromObject(obj client.Object) (w Workload, ok bool) {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return Workload{KindDeployment, o, &o.Spec.Template}, true
	case *appsv1.StatefulSet:
		return Workload{KindStatefulSet, o, &o.Spec.Template}, true
	case *appsv1.DaemonSet:
		return Workload{KindDaemonSet, o, &o.Spec.Template}, true
	case *unstructured.Unstructured:
		return fromArgoRollout(o)
	default:
		return Workload{}, false
	}
}

// Content is what a Secret holds now, as far as rollouts care.
type Content struct {
	// Secret is its name.
	Secret string
	// Checksum is the keyed checksum of its data.
	Checksum string
	// ChangedAt is when the data last changed; zero when it is still the first.
	ChangedAt time.Time
	// Fresh says that the change is just now, or so short ago that a workload which
	// already used the Secret may come to notice only now.
	Fresh bool
	// ThereSince is when the Secret came to be, or came back.
	ThereSince time.Time
	// Unstamped are the workloads, as kind/name, that ran with this content before and
	// had no stamp for it: they are to have none, so that their old pods fit.
	Unstamped []string
}

// stampOf is the stamp that the workload is to have; nil for none.
func (c Content) stampOf(w Workload) *string {
	if slices.Contains(c.Unstamped, w.Kind+"/"+w.Object.GetName()) {
		return nil
	}
	return &c.Checksum
}

// Uses reports whether the workload's pods take in the Secret of that name.
func (w Workload) Uses(secretName string) bool {
	return slices.Contains(SecretsOf(&w.Template.Spec), secretName)
}

// Stamp is the checksum that the pod template carries for the Secret; empty when
// it carries none.
func (w Workload) Stamp(secretName string) string {
	return w.Template.Annotations[StampAnnotation(secretName)]
}

// NeedsStamp reports whether the workload's stamp is to be changed, since its pods may
// run with other content than c. owed says that the workload was to be stamped before and could not be.
//
// A workload made in the very second of the change (the granularity of
// creationTimestamp) counts as older: one rollout too many beats a stale pod. Long
// after the change a workload without a stamp is one that came to use the Secret
// later, or whose template was replaced: its pods are younger than the content.
func (w Workload) NeedsStamp(c Content, owed bool) bool {
	stamp := w.Stamp(c.Secret)
	if c.stampOf(w) == nil {
		return stamp != ""
	}
	if stamp != "" {
		return stamp != c.Checksum
	}
	if c.ChangedAt.IsZero() || !c.Fresh && !owed {
		return false
	}
	return !w.Object.GetCreationTimestamp().After(c.ChangedAt)
}

// maxAnnotationName is the longest name part of an annotation key
// (k8s.io/apimachinery/pkg/util/validation, qualifiedNameMaxLength).
const maxAnnotationName = 63

// StampAnnotation is the key of the annotation that holds a Secret's stamp. The
// name of a Secret (253 bytes) may be longer than an annotation's (63); such a
// name is cut and told apart by a hash of the whole.
func StampAnnotation(secretName string) string {
	if len(secretName) <= maxAnnotationName {
		return vaultv1alpha1.StampAnnotationPrefix + secretName
	}
	sum := sha256.Sum256([]byte(secretName))
	suffix := "-" + hex.EncodeToString(sum[:5])
	cut := strings.TrimRight(secretName[:maxAnnotationName-len(suffix)], "-.")
	return vaultv1alpha1.StampAnnotationPrefix + cut + suffix
}
