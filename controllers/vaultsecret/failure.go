package vaultsecret

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret/content"
	"github.com/coffer-vault/coffer/internal/rollout"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// recheckInterval is how often a failure is looked at again that no event ends: a
// foreign Secret in the way, a write that the API server refused.
const recheckInterval = time.Minute

// policyInterval is how often a denial is looked at again until the VaultPolicies of
// the cluster are in force. Their coming is an event too.
const policyInterval = 5 * time.Second

// failure is why a reconcile stopped: a reason for the conditions, a message for
// people that holds no value, and what is to happen next.
type failure struct {
	reason  string
	message string
	// retry asks for another try soon, with backoff. Otherwise an event or the
	// refresh interval brings the next.
	retry bool
	// recheck is when to look again, if not 0.
	recheck time.Duration
	// revoked says that the caller may not, or no longer, have the content.
	revoked bool
}

func (f *failure) Error() string { return f.reason + ": " + f.message }

// errConflict ends a reconcile that lost a race; the next one starts from what
// won.
var errConflict = errors.New("an object changed meanwhile")

// failureOf turns any error of a step into a failure. A failure passes through.
func failureOf(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{reason: vaultv1alpha1.ReasonSecretWriteFailed, message: "a request to the API server failed; it is tried again, and the operator's log has the error", retry: true}
}

// contentFailure classifies the errors of package content.
func contentFailure(err error) *failure {
	reason := vaultv1alpha1.ReasonInvalidSpec
	switch {
	case errors.Is(err, content.ErrProperty):
		reason = vaultv1alpha1.ReasonPropertyNotFound
	case errors.Is(err, content.ErrConflict):
		reason = vaultv1alpha1.ReasonKeyConflict
	case errors.Is(err, content.ErrTemplate):
		reason = vaultv1alpha1.ReasonTemplateFailed
	case errors.Is(err, content.ErrType):
		reason = vaultv1alpha1.ReasonInvalidContent
	}
	return &failure{reason: reason, message: err.Error()}
}

// asked is what the engine was asked for.
type asked struct {
	refs     []secret.Ref
	prefixes []secret.Prefix
}

// vaultFailure classifies an error of the engine.
func vaultFailure(err error, caller secret.Caller, what asked) *failure {
	switch {
	case errors.Is(err, secret.ErrDenied):
		return denied(caller, what.refused(err))
	case errors.Is(err, secret.ErrVersionNotFound):
		return missingVersion(err, what)
	case errors.Is(err, secret.ErrInvalid):
		return &failure{reason: vaultv1alpha1.ReasonInvalidSpec, message: err.Error()}
	case errors.Is(err, secret.ErrTampered):
		return &failure{
			reason:  vaultv1alpha1.ReasonIntegrityFailed,
			message: fmt.Sprintf("what the vault's database holds for %s is not what Coffer wrote; the Secret is left as it is; see the audit log: coffer audit", enumerate(what.refused(err))),
			recheck: recheckInterval,
		}
	default:
		return &failure{
			reason:  vaultv1alpha1.ReasonVaultUnavailable,
			message: "the vault cannot answer now: its database is not reached, or the policies of this cluster are not yet in it; the Secret is left as it is and syncing goes on by itself",
			retry:   true,
		}
	}
}

// missingVersion says why a pinned version cannot be had, and what to do about it. The
// Secret keeps what it has of the version.
func missingVersion(err error, what asked) *failure {
	var names, undelete []string
	for _, ref := range what.pinned(err) {
		names = append(names, fmt.Sprintf("%s version %d", ref.Path, ref.Version))
		undelete = append(undelete, fmt.Sprintf("coffer undelete %s --version %d", ref.Path, ref.Version))
	}
	which := strings.Join(names, " or ")
	switch {
	case errors.Is(err, secret.ErrVersionDestroyed):
		return &failure{
			reason: vaultv1alpha1.ReasonVersionDestroyed,
			message: which + " is destroyed, and its value gone for good; name another version in spec.data, or 0 for the current one; " +
				"until then the Secret is left as it is, with what it has of that version",
		}
	case errors.Is(err, secret.ErrVersionDeleted):
		return &failure{
			reason: vaultv1alpha1.ReasonVersionDeleted,
			message: which + " is deleted; bring it back (" + strings.Join(undelete, ", or ") + "), or name another version in spec.data, " +
				"or 0 for the current one; until then the Secret is left as it is",
		}
	}
	return &failure{
		reason:  vaultv1alpha1.ReasonVersionNotFound,
		message: which + " does not exist; name one that does (see coffer versions), or 0 for the current one",
	}
}

// denied tells who asked for what and how to find out why, and not whether the
// path exists, or anything lies below the prefix.
func denied(caller secret.Caller, paths []string) *failure {
	f := &failure{reason: vaultv1alpha1.ReasonDenied, revoked: true}
	if strings.HasSuffix(paths[0], "/") {
		f.message = fmt.Sprintf("the service account %s asked for what lies below %s: there is nothing, or the account may read nothing of it; see: coffer list %s, and coffer explain PATH --service-account %s --capability read",
			caller, paths[0], paths[0], caller)
		return f
	}
	f.message = fmt.Sprintf("the service account %s asked for %s: it does not exist, or the account may not read it; see: coffer explain %s --service-account %s --capability read",
		caller, enumerate(paths), paths[0], caller)
	return f
}

// refused are the path or the prefix that err names; all that were asked for when it
// names none.
func (a asked) refused(err error) []string {
	all := make([]string, 0, len(a.refs)+len(a.prefixes))
	for _, ref := range a.refs {
		all = append(all, ref.Path.String())
	}
	for _, prefix := range a.prefixes {
		all = append(all, prefix.String())
	}
	text := err.Error()
	for _, path := range all {
		// The engine writes "check PATH: …", and no path holds a space or a colon.
		if strings.Contains(text, " "+path+":") {
			return []string{path}
		}
	}
	return all
}

// pinned are the pinned versions of what err names.
func (a asked) pinned(err error) []secret.Ref {
	named := a.refused(err)
	return slices.DeleteFunc(slices.Clone(a.refs), func(ref secret.Ref) bool {
		return ref.Version == 0 || !slices.Contains(named, ref.Path.String())
	})
}

// writeFailure classifies an error of the API server about the Secret. Of a
// refusal it keeps the fields only, since the message may quote the data.
func writeFailure(what string, err error) error {
	switch {
	case apierrors.IsConflict(err):
		return errConflict
	case apierrors.HasStatusCause(err, "NamespaceTerminating"):
		return &failure{reason: vaultv1alpha1.ReasonSecretWriteFailed, message: what + ": the namespace is being deleted"}
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return &failure{
			reason:  vaultv1alpha1.ReasonSecretWriteFailed,
			message: fmt.Sprintf("%s: the API server refuses it as invalid%s; see spec.target", what, invalidFields(err)),
			recheck: recheckInterval,
		}
	case apierrors.IsForbidden(err):
		return &failure{
			reason:  vaultv1alpha1.ReasonSecretWriteFailed,
			message: fmt.Sprintf("%s: the API server forbids it: a quota, an admission policy, or the rights of Coffer's service account", what),
			recheck: recheckInterval,
		}
	default:
		return &failure{
			reason:  vaultv1alpha1.ReasonSecretWriteFailed,
			message: fmt.Sprintf("%s: the API server answers %s; it is tried again", what, orUnknown(apierrors.ReasonForError(err))),
			retry:   true,
		}
	}
}

// rolloutFailure says what of a rollout could not be done or seen; the Secret is written
// by then. It keeps err for the log, and is nil for nil.
func rolloutFailure(err error) error {
	if err == nil {
		return nil
	}
	f := &failure{
		reason:  vaultv1alpha1.ReasonRolloutFailed,
		message: "a workload could not be read, or its pod template not stamped; it is tried again, and the operator's log has the error",
		retry:   true,
	}
	unseen, ok := errors.AsType[*rollout.PodsError](err)
	switch {
	case ok && apierrors.IsForbidden(unseen.Err):
		f.message = fmt.Sprintf("the pods of %s could not be listed, so that nobody knows whether its rollout works: "+
			"the API server forbids it; give Coffer's service account the right to list pods in the namespace, as its Role has it; it is tried again", unseen.Workload)
	case ok:
		f.message = fmt.Sprintf("the pods of %s could not be listed, so that nobody knows whether its rollout works; "+
			"it is tried again, and the operator's log has the error", unseen.Workload)
	}
	return fmt.Errorf("%w: %w", f, err)
}

func invalidFields(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		fields = append(fields, fmt.Sprintf("%s (%s)", cause.Field, cause.Type))
	}
	if len(fields) == 0 {
		return ""
	}
	return " in " + strings.Join(fields, ", ")
}

func orUnknown[S ~string](reason S) string {
	if reason == "" {
		return "with an error, or not at all"
	}
	return string(reason)
}
