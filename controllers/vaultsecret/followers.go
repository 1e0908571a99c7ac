package vaultsecret

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
)

// defaultDebounce is used when spec.rollout.debounce is empty.
const defaultDebounce = 2 * time.Second

// debounce is how long a changed Secret waits for further changes before it rolls
// workloads; 0 is not at all. A rollback waits as long as those of the other Secrets of a
// workload may take to be decided, so that they go in one rollout, and no longer.
func debounce(object *vaultv1alpha1.VaultSecret) time.Duration {
	if object.Spec.Rollout.Debounce != nil && object.Status.Rejected == nil {
		return object.Spec.Rollout.Debounce.Duration
	}
	return defaultDebounce
}

// anySelector is the entry of workloadIndex of VaultSecrets with a selector, which
// may match any workload. Other entries have a "/".
const anySelector = "selector"

// rolledWorkloads are the entries of workloadIndex: the workloads that the VaultSecret
// names, as kind/name.
func rolledWorkloads(object *vaultv1alpha1.VaultSecret) []string {
	var entries []string
	for _, target := range object.Spec.Rollout.Targets {
		entries = append(entries, string(target.Kind)+"/"+target.Name)
	}
	if object.Spec.Rollout.Selector != nil {
		entries = append(entries, anySelector)
	}
	return entries
}

// followed lists the VaultSecrets that the workload follows: whose Secret its pods
// use, or that name it. They are shared with the cache and must not be changed.
func followed(ctx context.Context, reader client.Reader, w rollout.Workload) ([]vaultv1alpha1.VaultSecret, error) {
	name := w.Object.GetName()
	queries := []client.MatchingFields{{workloadIndex: w.Kind + "/" + name}, {workloadIndex: anySelector}}
	var all []vaultv1alpha1.VaultSecret
	add := func(found []vaultv1alpha1.VaultSecret) {
		for i := range found {
			if follows(w, &found[i]) && !slices.ContainsFunc(all, func(o vaultv1alpha1.VaultSecret) bool { return o.Name == found[i].Name }) {
				all = append(all, found[i])
			}
		}
	}
	for _, secretName := range rollout.SecretsOf(&w.Template.Spec) {
		found, err := targeting(ctx, reader, w.Object.GetNamespace(), secretName)
		if err != nil {
			return nil, err
		}
		add(found)
	}
	for _, query := range queries {
		var found vaultv1alpha1.VaultSecretList
		err := reader.List(ctx, &found, client.InNamespace(w.Object.GetNamespace()), query,
			client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
		if err != nil {
			return nil, fmt.Errorf("list the VaultSecrets that %s %s follows: %w", w.Kind, name, err)
		}
		add(found.Items)
	}
	return all, nil
}

func follows(w rollout.Workload, object *vaultv1alpha1.VaultSecret) bool {
	if object.Spec.Rollout.Mode == vaultv1alpha1.RolloutNone {
		return false
	}
	selection, err := rollout.SelectionOf(&object.Spec.Rollout)
	return err == nil && selection.Selects(w, targetName(object)) // its own status tells of the error
}

// peersOf finds what the workloads of own follow besides. It sees what the other
// workers of this process wrote: a change that this missed would roll the workload a
// second time.
func (r *Reconciler) peersOf(own *vaultv1alpha1.VaultSecret) func(context.Context, rollout.Workload) ([]rollout.Peer, error) {
	return func(ctx context.Context, w rollout.Workload) ([]rollout.Peer, error) {
		others, err := followed(ctx, r.Client, w)
		if err != nil {
			return nil, err
		}
		var peers []rollout.Peer
		for i := range others {
			if others[i].UID == own.UID || !others[i].DeletionTimestamp.IsZero() {
				continue
			}
			peer, err := r.peer(ctx, client.ObjectKeyFromObject(&others[i]), w)
			if err != nil {
				return nil, err
			}
			if peer != nil {
				peers = append(peers, *peer)
			}
		}
		return peers, nil
	}
}

// peer is the Secret of the VaultSecret of that name; nil when there is none, or it
// is not as it should be and to be put right first.
func (r *Reconciler) peer(ctx context.Context, key client.ObjectKey, w rollout.Workload) (*rollout.Peer, error) {
	object := &vaultv1alpha1.VaultSecret{}
	if err := r.Get(ctx, key, object); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	target := &corev1.Secret{}
	err := r.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: targetName(object)}, target)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get the Secret %s: %w", targetName(object), err)
	}
	if ownerUID(target) != string(object.UID) || !intact(target) {
		return nil, nil
	}
	peer := &rollout.Peer{Secret: target.Name, Checksum: target.Annotations[vaultv1alpha1.ChecksumAnnotation]}
	peer.Unstamped = unstamped(object, peer.Checksum)
	// Between the write of the Secret and that of its status the change is not noted.
	if noted := object.Status.Target; noted != nil && noted.Name == target.Name {
		peer.Owed = noted.Checksum != "" && noted.Checksum != peer.Checksum
	}
	i := slices.IndexFunc(object.Status.Workloads, func(s vaultv1alpha1.WorkloadStatus) bool {
		return s.State == vaultv1alpha1.WorkloadPending && s.Kind == w.Kind && s.Name == w.Object.GetName()
	})
	if i < 0 {
		return peer, nil
	}
	peer.Owed = true
	// A suspended one is stamped with the others, since the new pods have its content,
	// but nobody waits for it.
	if stamp := w.Stamp(peer.Secret); stamp != peer.Checksum && !object.Spec.Suspend {
		wait := rollout.WaitOf(object.Status.Workloads[i], debounce(object))
		peer.Wait = &wait
	}
	return peer, nil
}
