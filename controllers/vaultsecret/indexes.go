package vaultsecret

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
)

// Field indexes of the cache.
const (
	pathIndex    = "coffer.paths"          // VaultSecret by each vault path and prefix it uses
	accountIndex = "coffer.serviceAccount" // VaultSecret by its service account
	// targetIndex: VaultSecret by the name of its Secret, where that is another than its own.
	// Most have the same, and would only fill memory: ask targeting.
	targetIndex = "coffer.target"
	// workloadIndex: VaultSecret by the workloads that its spec.rollout names.
	workloadIndex = "coffer.workload"
	// ownerIndex: Secret by the UID of its VaultSecret, where that has another name: ask owned.
	ownerIndex = "coffer.owner"
)

func addIndexes(mgr ctrl.Manager, argoRollouts bool) error {
	indexer := mgr.GetFieldIndexer()
	ctx := context.Background() // it only bounds the making of informers
	for field, extract := range map[string]func(*vaultv1alpha1.VaultSecret) []string{
		pathIndex:    usedPaths,
		accountIndex: func(o *vaultv1alpha1.VaultSecret) []string { return []string{o.Spec.ServiceAccountName} },
		targetIndex:  otherTarget,

		workloadIndex: rolledWorkloads,
	} {
		err := indexer.IndexField(ctx, &vaultv1alpha1.VaultSecret{}, field, func(obj client.Object) []string {
			return extract(obj.(*vaultv1alpha1.VaultSecret))
		})
		if err != nil {
			return fmt.Errorf("index VaultSecrets by %s: %w", field, err)
		}
	}
	err := indexer.IndexField(ctx, &corev1.Secret{}, ownerIndex, func(obj client.Object) []string {
		return otherOwner(obj.(*corev1.Secret))
	})
	if err != nil {
		return fmt.Errorf("index Secrets by owner: %w", err)
	}
	return rollout.AddIndexes(ctx, indexer, rollout.Objects(argoRollouts))
}

// usedPaths are the vault paths and prefixes that the VaultSecret names, as written.
// A prefix ends in "/", and a path never does.
func usedPaths(object *vaultv1alpha1.VaultSecret) []string {
	seen := map[string]bool{"": true}
	var paths []string
	add := func(path string) {
		if !seen[path] {
			seen[path] = true
			paths = append(paths, path)
		}
	}
	add(string(object.Spec.Path))
	for i := range object.Spec.DataFrom {
		add(string(object.Spec.DataFrom[i].Path))
		add(string(object.Spec.DataFrom[i].Prefix))
	}
	for i := range object.Spec.Data {
		add(string(object.Spec.Data[i].Path))
	}
	return paths
}

// otherTarget is the entry of targetIndex.
func otherTarget(object *vaultv1alpha1.VaultSecret) []string {
	if name := targetName(object); name != object.Name {
		return []string{name}
	}
	return nil
}

// targeting lists the VaultSecrets whose Secret has the name. They are shared with the
// cache and must not be changed.
func targeting(ctx context.Context, reader client.Reader, namespace, name string) ([]vaultv1alpha1.VaultSecret, error) {
	var found vaultv1alpha1.VaultSecretList
	err := reader.List(ctx, &found, client.InNamespace(namespace), client.MatchingFields{targetIndex: name},
		client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency) // what counts here is not written by Coffer
	if err != nil {
		return nil, fmt.Errorf("list the VaultSecrets of the Secret %s: %w", name, err)
	}
	var named vaultv1alpha1.VaultSecret
	err = reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &named, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get the VaultSecret %s: %w", name, err)
	}
	if err == nil && targetName(&named) == name {
		return append(found.Items, named), nil
	}
	return found.Items, nil
}

// otherOwner is the entry of ownerIndex. The annotation of what is retained does not tell
// a name.
func otherOwner(s *corev1.Secret) []string {
	uid := ownerUID(s)
	if owner := metav1.GetControllerOf(s); uid == "" || owner != nil && owner.Name == s.Name {
		return nil
	}
	return []string{uid}
}

// owned lists the Secrets that belong to the VaultSecret. One that the cache does not show
// yet, because it was written just now, comes as an event, also when it is the VaultSecret's
// own write, unless it was written in this run.
func (r *Reconciler) owned(ctx context.Context, s *scope) ([]corev1.Secret, error) {
	writtenNow := ""
	if s.written {
		writtenNow = s.secretName()
	}
	r.own.release(s.key(), writtenNow)
	var owned corev1.SecretList
	err := r.List(ctx, &owned, client.InNamespace(s.object.Namespace), client.MatchingFields{ownerIndex: string(s.object.UID)},
		client.DisableReadYourWritesConsistency)
	if err != nil {
		return nil, fmt.Errorf("list the Secrets of the VaultSecret: %w", err)
	}
	var named corev1.Secret
	err = r.Get(ctx, s.key(), &named, client.DisableReadYourWritesConsistency)
	if apierrors.IsNotFound(err) {
		return owned.Items, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get the Secret %s: %w", s.object.Name, err)
	}
	if ownerUID(&named) == string(s.object.UID) && len(otherOwner(&named)) == 0 {
		return append(owned.Items, named), nil
	}
	return owned.Items, nil
}
