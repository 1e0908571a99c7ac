package clustervaultsecret

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// errRaced: the VaultSecret is not as the cache has it. The next reconcile starts from
// what won.
var errRaced = errors.New("the VaultSecret changed meanwhile")

// errNotOwned: a VaultSecret of the name is there and is not this ClusterVaultSecret's.
var errNotOwned = errors.New("the VaultSecret belongs to somebody else")

// invalidError is a mistake in the spec that the CRD could not refuse. Its text is for
// the condition.
type invalidError struct{ message string }

func (e *invalidError) Error() string { return e.message }

// note keeps what err, of the writes in namespace, means for its outcome and for what
// comes next. It reports whether the API server refused a write for a reason that
// lasts: what it said is for the log, since it may quote the object.
func (s *scope) note(namespace string, err error) (refused bool) {
	failed := func(format string, args ...any) {
		s.add(namespace, vaultv1alpha1.ReasonVaultSecretWriteFailed, fmt.Sprintf(format, args...))
	}
	switch {
	case err == nil: // observe has it
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		// The namespace goes or is gone; the cache will tell.
	case errors.Is(err, errRaced):
		s.raced = true
		s.add(namespace, vaultv1alpha1.ReasonProgressing, "the VaultSecret changed while it was written; it is tried again")
	case errors.Is(err, errNotOwned):
		s.add(namespace, vaultv1alpha1.ReasonVaultSecretNotOwned, fmt.Sprintf(
			"there is a VaultSecret %s that is not this ClusterVaultSecret's, and it is left alone: delete it, or set another spec.template.metadata.name", childName(s.object)))
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		s.lookAgain(recheckInterval)
		failed("the API server refuses the VaultSecret as invalid: correct spec.template; it is tried again every minute")
		return true
	case apierrors.IsForbidden(err):
		s.lookAgain(recheckInterval)
		failed("the API server forbids the VaultSecret: a quota, an admission policy, or the rights of Coffer's service account; it is tried again every minute")
		return true
	default:
		s.failures = append(s.failures, err)
		failed("the API server answers %s; it is tried again", orUnknown(string(apierrors.ReasonForError(err))))
	}
	return false
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
