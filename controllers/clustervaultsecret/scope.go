package clustervaultsecret

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// scope holds what one reconcile finds out. Each step reads what those before it
// left here.
type scope struct {
	// object is the ClusterVaultSecret; its status is changed and written once, at the
	// end. before is as it was read.
	object *vaultv1alpha1.ClusterVaultSecret
	before *vaultv1alpha1.ClusterVaultSecret

	matched []string        // match: the namespaces of the selector, sorted
	leaving map[string]bool // match: the namespaces that are being deleted

	own map[types.NamespacedName]*vaultv1alpha1.VaultSecret // gather: the VaultSecrets of object, as cached

	outcomes []outcome // sync: one for each of matched that is still there
	// raced says that one of them is not what it is now, because something changed meanwhile.
	raced bool
	// failures are the errors after which another try may succeed soon.
	failures []error
	// recheck is when to look again at what no event ends; 0 is never.
	recheck time.Duration
}

func newScope(object *vaultv1alpha1.ClusterVaultSecret) *scope {
	return &scope{object: object, before: object.DeepCopy()}
}

// outcome is what became of the template in one namespace.
type outcome struct {
	vaultv1alpha1.NamespaceOutcome
	// pendingSince is when a VaultSecret was made that has no outcome yet; zero for
	// others.
	pendingSince time.Time
}

// childName is the name of the VaultSecrets of object.
func childName(object *vaultv1alpha1.ClusterVaultSecret) string {
	if object.Spec.Template.Metadata.Name != "" {
		return object.Spec.Template.Metadata.Name
	}
	return object.Name
}
