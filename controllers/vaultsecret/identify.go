package vaultsecret

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret/content"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// identify finds out who asks, and whether it is another than the content of the Secret
// was last read for.
func (r *Reconciler) identify(ctx context.Context, s *scope) (err error) {
	if s.caller, err = r.callerOf(ctx, s.object); err != nil {
		return err
	}
	bound := s.object.Status.ServiceAccount
	s.rebound = bound != nil && bound.UID != s.caller.UID
	return nil
}

// confirm is for the last moment before the content is written: an account that was
// deleted since, or made anew, and a namespace that has another environment by now, get
// nothing of what was read for the former.
func (r *Reconciler) confirm(ctx context.Context, s *scope) error {
	now, err := r.callerOf(ctx, s.object)
	if err != nil {
		return err
	}
	if now.UID != s.caller.UID || now.Environment != s.caller.Environment {
		return errConflict
	}
	return nil
}

// callerOf makes the caller from what a tenant cannot write: the namespace of the
// VaultSecret's metadata, the account that exists there, with its UID, and the
// namespace's environment.
func (r *Reconciler) callerOf(ctx context.Context, object *vaultv1alpha1.VaultSecret) (secret.Caller, error) {
	namespace := object.Namespace
	account, err := r.serviceAccount(ctx, types.NamespacedName{Namespace: namespace, Name: object.Spec.ServiceAccountName})
	if err != nil {
		return secret.Caller{}, err
	}
	environment, err := r.environment(ctx, namespace)
	if err != nil {
		return secret.Caller{}, err
	}
	return secret.Caller{
		Kind:        secret.KindServiceAccount,
		Cluster:     r.Cluster,
		Namespace:   namespace,
		Name:        account.Name,
		UID:         string(account.UID),
		Environment: environment,
		Address:     secret.OperatorAddress,
		RequestID:   string(controller.ReconcileIDFromContext(ctx)),
	}, nil
}

// serviceAccount reads from the cache, and before it says that an account does not
// exist, from the API server: the answer takes a Secret away.
func (r *Reconciler) serviceAccount(ctx context.Context, key types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	if len(apivalidation.ValidateServiceAccountName(key.Name, false)) > 0 {
		return nil, noServiceAccount(key) // and asking for it is an error
	}
	account := serviceAccountMetadata()
	err := r.Get(ctx, key, account)
	if apierrors.IsNotFound(err) {
		account = serviceAccountMetadata()
		err = r.APIReader.Get(ctx, key, account)
	}
	if apierrors.IsNotFound(err) || err == nil && !account.DeletionTimestamp.IsZero() {
		return nil, noServiceAccount(key)
	}
	if err != nil {
		return nil, fmt.Errorf("get the service account %s: %w", key, err)
	}
	return account, nil
}

func noServiceAccount(key types.NamespacedName) *failure {
	return &failure{
		reason:  vaultv1alpha1.ReasonServiceAccountNotFound,
		message: fmt.Sprintf("the service account %s does not exist; create it, or name another in spec.serviceAccountName", key),
		revoked: true,
	}
}

// environment is the namespace's label, or the operator's default.
func (r *Reconciler) environment(ctx context.Context, name string) (string, error) {
	namespace := namespaceMetadata()
	err := r.Get(ctx, client.ObjectKey{Name: name}, namespace)
	if apierrors.IsNotFound(err) { // new, and not yet in the cache
		err = r.APIReader.Get(ctx, client.ObjectKey{Name: name}, namespace)
	}
	if err != nil {
		return "", fmt.Errorf("get the namespace %s: %w", name, err)
	}
	if environment := namespace.Labels[vaultv1alpha1.EnvironmentLabel]; environment != "" {
		return environment, nil
	}
	return r.DefaultEnvironment, nil
}

// authorise asks the engine whether the caller may read every path, and which
// versions they stand for. Nothing is opened.
func (r *Reconciler) authorise(ctx context.Context, s *scope) error {
	spec := &s.object.Spec
	if err := content.Validate(spec); err != nil {
		return contentFailure(err)
	}
	refs, err := content.Refs(spec)
	if err != nil {
		return contentFailure(err)
	}
	prefixes, err := content.Prefixes(spec)
	if err != nil {
		return contentFailure(err)
	}
	found, err := r.Vault.Resolve(ctx, s.caller, refs, prefixes, maxBelow+1)
	s.until = found.Until
	if err != nil {
		return r.vaultError(ctx, s, asked{refs, prefixes}, err)
	}
	if len(found.Named) != len(refs) || len(found.Allowed) != len(refs) || len(found.Below) != len(prefixes) {
		return fmt.Errorf("the engine answered for %d of %d paths and %d of %d prefixes", len(found.Named), len(refs), len(found.Below), len(prefixes))
	}
	s.named = len(refs)
	s.refs, s.versions, s.allowed = refs, found.Named, found.Allowed
	if err := s.addBelow(prefixes, found.Below); err != nil {
		return err
	}
	s.inputs, err = inputsChecksum(r.Vault, s.object, s.refs, s.versions)
	return err
}

// maxBelow is how many paths the prefixes of one VaultSecret may give together: each
// is read when one of them changes, and listed in the status.
const maxBelow = 256

// addBelow adds the paths that prefixes gave to the references, each once.
func (s *scope) addBelow(prefixes []secret.Prefix, below [][]secret.Metadata) error {
	known := make(map[secret.Ref]bool, len(s.refs))
	for _, ref := range s.refs {
		known[ref] = true
	}
	found := map[secret.Path]bool{}
	for i, prefix := range prefixes {
		for _, version := range below[i] {
			found[version.Path] = true
			if len(found) > maxBelow {
				return &failure{
					reason:  vaultv1alpha1.ReasonInvalidSpec,
					message: fmt.Sprintf("%s and the prefixes before it give more than %d paths; name a longer prefix, or single paths", prefix, maxBelow),
				}
			}
			if ref := (secret.Ref{Path: version.Path}); !known[ref] {
				known[ref] = true
				s.refs, s.versions = append(s.refs, ref), append(s.versions, version)
			}
		}
	}
	return nil
}

// vaultError classifies and logs an error of the engine; errors of the engine name
// paths and never values.
func (r *Reconciler) vaultError(ctx context.Context, s *scope, what asked, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := vaultFailure(err, s.caller, what)
	if f.retry {
		return fmt.Errorf("%w (%w)", f, err)
	}
	return f
}
