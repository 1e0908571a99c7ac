package clustervaultsecret

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// errNotOwned: a VaultSecret of the name is there and is not this ClusterVaultSecret's.
var errNotOwned = errors.New("the VaultSecret belongs to somebody else")

// invalidError is a mistake in the spec that the CRD could not refuse. Its text is for
// the condition.
type invalidError struct{ message string }

func (e *invalidError) Error() string { return e.message }

// note keeps what err, of the writes in namespace, means for its outcome and for what
// comes next. What the API server said is for the log: it may quote an object.
func (s *scope) note(namespace string, err error) {
	failed := func(format string, args ...any) {
		s.add(namespace, vaultv1alpha1.ReasonVaultSecretWriteFailed, fmt.Sprintf(format, args...))
	}
	switch {
	case err == nil: // observe has it
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		// The namespace goes or is gone, or the VaultSecret is; the cache will tell.
	case errors.Is(err, errNotOwned):
		s.add(namespace, vaultv1alpha1.ReasonVaultSecretNotOwned, fmt.Sprintf(
			"there is a VaultSecret %s that is not this ClusterVaultSecret's, and it is left alone: delete it, or set another spec.template.metadata.name", childName(s.object)))
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		s.lookAgain(conflictDelay)
		s.add(namespace, vaultv1alpha1.ReasonProgressing, "the VaultSecret changed meanwhile")
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		s.lookAgain(recheckInterval)
		failed("the API server refuses the VaultSecret as invalid: correct spec.template; it is tried again every minute")
	case apierrors.IsForbidden(err):
		s.lookAgain(recheckInterval)
		failed("the API server forbids the VaultSecret: a quota, an admission policy, or the rights of Coffer's service account; it is tried again every minute")
	default:
		s.failures = append(s.failures, err)
		failed("the API server answers %s; it is tried again", orUnknown(string(apierrors.ReasonForError(err))))
	}
}

func (s *scope) add(namespace, reason, message string) {
	s.outcomes = append(s.outcomes, outcome{NamespaceOutcome: vaultv1alpha1.NamespaceOutcome{
		Namespace: namespace, Reason: reason, Message: message,
	}})
}

// lookAgain asks for another reconcile after d at the latest.
func (s *scope) lookAgain(d time.Duration) {
	if s.recheck == 0 || d < s.recheck {
		s.recheck = d
	}
}

func orUnknown(reason string) string {
	if reason == "" {
		return "with an error, or not at all"
	}
	return reason
}
