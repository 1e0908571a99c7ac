package vaultsecret

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// scope holds what one reconcile finds out. Each step reads what those before it
// left here.
type scope struct {
	// object is the VaultSecret; its status is changed as the steps go and written
	// once, at the end. before is as it was read.
	object *vaultv1alpha1.VaultSecret
	before *vaultv1alpha1.VaultSecret

	// inForce says that the VaultPolicies of the cluster were in force before the vault
	// was asked: a denial means what it says.
	inForce bool

	caller secret.Caller // identify
	// rebound says that the account is another than the Secret was last written for,
	// be it of the same name: what it holds is then read anew, so that the audit log
	// knows the account that has it.
	rebound bool // identify

	// until is when the rights may be other ones by themselves; zero is never.
	until time.Time // authorise

	refs     []secret.Ref      // authorise: those that the spec names, then what prefixes gave
	named    int               // authorise: how many of refs the spec names
	versions []secret.Metadata // authorise: one for each of refs
	inputs   string            // authorise: the keyed checksum of spec and versions
	allowed  []secret.Allowed  // authorise: the decision about each that the spec names

	// reads are what is opened for each of refs, which are opened themselves when nil:
	// the versions to which turnBack takes the Secret back.
	reads []secret.Ref
	// lostGood says, for people, why what was refused is tried again though nothing asked
	// for it: the last good content cannot be had any more. Empty otherwise.
	lostGood string // turnBack

	// target is the name of the Secret when that is immutable: inspect, or sync once the
	// content is known.
	target   string
	existing *corev1.Secret // inspect: the target as cached, without data; nil when there is none
	// adopted says that existing belonged to nobody, and agrees to be taken over.
	adopted bool

	checksum string // sync: the keyed checksum of the data
	// written says that this run wrote the Secret, changed that its data differ from
	// the last synced, restored that somebody else had changed or deleted it.
	written, changed, restored bool
	// overtaken says that somebody else wrote the Secret meanwhile, it seems.
	overtaken bool

	rolled rollout.Report // roll
	// rejecting says that this run decided to roll back, noWayBack why it could not.
	rejecting bool
	noWayBack string
	// untold says that the vault is still to be told of versions that workloads do not come
	// up with.
	untold bool // finish
	// rolling says that workloads are looked after at all, cameToRollout that all
	// steps before the rollout are done: a failure is then one of the rollout.
	rolling, cameToRollout bool
}

func newScope(object *vaultv1alpha1.VaultSecret) *scope {
	return &scope{object: object, before: object.DeepCopy()}
}

func (s *scope) key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.object.Namespace, Name: s.object.Name}
}

// secretName is the name of the Secret that holds the content, or is to hold it.
func (s *scope) secretName() string {
	if s.target != "" {
		return s.target
	}
	return targetName(s.object)
}

// targetName is the name of the native Secret, or, of an immutable one, the beginning of
// it.
func targetName(object *vaultv1alpha1.VaultSecret) string {
	if object.Spec.Target.Name != "" {
		return object.Spec.Target.Name
	}
	return object.Name
}

// targetType is the type of the native Secret.
func targetType(object *vaultv1alpha1.VaultSecret) corev1.SecretType {
	if object.Spec.Target.Type != "" {
		return corev1.SecretType(object.Spec.Target.Type)
	}
	return corev1.SecretTypeOpaque
}

// retains says whether the Secret is to outlive its VaultSecret and its rights.
func retains(object *vaultv1alpha1.VaultSecret) bool {
	return object.Spec.DeletionPolicy == vaultv1alpha1.DeletionRetain
}

// defaultRefreshInterval is used when spec.refreshInterval is empty.
const defaultRefreshInterval = time.Hour

// maxRefreshInterval is the longest there is: more, spread, would be more than can be
// counted.
const maxRefreshInterval = 365 * 24 * time.Hour

// refreshInterval is the time between two safety resyncs; 0 is never.
func refreshInterval(object *vaultv1alpha1.VaultSecret) time.Duration {
	if object.Spec.RefreshInterval != nil {
		return min(object.Spec.RefreshInterval.Duration, maxRefreshInterval)
	}
	return defaultRefreshInterval
}
