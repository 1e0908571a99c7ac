package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// floorRates are what a plain client does, which asks no vault.
type floorRates struct {
	// firstSync is Secrets created, and statuses patched, in a second; fanOut those updated.
	firstSync, fanOut float64
	// rotations are the times from a message in Redis to the updated Secret.
	rotations []time.Duration
}

// measureFloor measures on objects of its own, like the operator's, and removes them.
func (b *operatorBench) measureFloor(ctx context.Context) (f floorRates, err error) {
	if _, err := b.prepared(ctx); err != nil {
		return f, err
	}
	for _, stage := range []struct {
		name string
		n    int
		run  func() error
	}{
		{"floor of first sync", b.objects, func() (err error) { f.firstSync, err = b.floorRate(ctx, b.objects, 0); return err }},
		{"floor of rotation for many", b.shared, func() (err error) { f.fanOut, err = b.floorRate(ctx, b.shared, 1); return err }},
		{"floor of rotation", rotations, func() (err error) { f.rotations, err = b.floorRotations(ctx); return err }},
	} {
		if err := b.stage(ctx, stage.name, stage.n, stage.run); err != nil {
			return f, fmt.Errorf("%s: %w", stage.name, err)
		}
	}
	return f, b.clearFloor(ctx)
}

// clearFloor removes what the floor wrote, and wrote to.
func (b *operatorBench) clearFloor(ctx context.Context) error {
	if err := b.plane.clear(ctx, floors); err != nil {
		return fmt.Errorf("remove what the floor made: %w", err)
	}
	return b.tally.until(ctx, func() bool { return len(b.tally.secrets) == 0 && len(b.tally.status) == b.objects })
}

// floorRate writes the first n Secrets and statuses, with a value of that number, and
// waits until the watches have seen it, as the operator's are waited for.
func (b *operatorBench) floorRate(ctx context.Context, n, number int) (float64, error) {
	begin := time.Now()
	err := together(ctx, floorWorkers, n, func(ctx context.Context, i int) error { return b.writeAsFloor(ctx, i, number) })
	if err != nil {
		return 0, err
	}
	err = b.tally.until(ctx, func() bool { return b.tally.numbers[number] == n && b.tally.versions[int64(number)+1] == n })
	return float64(n) / time.Since(begin).Seconds(), err
}

// checksum is as long as one of the operator's.
var checksum = strings.Repeat("c", 43)

// writeAsFloor creates or updates one Secret of the same content and size as the
// operator's, and then writes such a status.
func (b *operatorBench) writeAsFloor(ctx context.Context, i, number int) error {
	key := keyOf(floors, i)
	object := &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	target := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Labels: map[string]string{vaultv1alpha1.ManagedByLabel: vaultv1alpha1.ManagedByValue},
			Annotations: map[string]string{
				vaultv1alpha1.ChecksumAnnotation: checksum, vaultv1alpha1.InputsAnnotation: checksum, vaultv1alpha1.VaultAnnotation: checksum,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: vaultv1alpha1.GroupVersion.String(), Kind: "VaultSecret", Name: key.Name,
				UID: "00000000-0000-0000-0000-000000000000", Controller: new(true), BlockOwnerDeletion: new(false),
			}},
		},
		Data: map[string][]byte{"value": numbered(number)},
	}
	write := func() error { return b.plane.client.Create(ctx, target) }
	if number > 0 {
		write = func() error { return b.plane.client.Update(ctx, target) }
	}
	if err := write(); err != nil {
		return err
	}
	patch := client.MergeFrom(object.DeepCopy())
	now := metav1.Now()
	object.Status = vaultv1alpha1.VaultSecretStatus{
		ObservedGeneration: 1, Path: b.pathOf(i), Version: int64(number) + 1, LastSyncTime: &now,
		Sources: []vaultv1alpha1.SourceStatus{{Path: b.pathOf(i), Version: int64(number) + 1, RotatedAt: &now}},
		Target:  &vaultv1alpha1.TargetStatus{Name: key.Name, Keys: []string{"value"}, Checksum: checksum},
	}
	for _, kind := range []string{vaultv1alpha1.ConditionSynced, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ConditionReady} {
		object.Status.Conditions = append(object.Status.Conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: vaultv1alpha1.ReasonSynced, LastTransitionTime: now, ObservedGeneration: 1,
			Message: fmt.Sprintf("the Secret %s holds %s version %d", key.Name, b.pathOf(i), number+1),
		})
	}
	return b.plane.client.Status().Patch(ctx, object, patch)
}

// floorRotations publishes to Redis, receives, and updates one Secret, again and again.
func (b *operatorBench) floorRotations(ctx context.Context) (took []time.Duration, err error) {
	options, err := goredis.ParseURL(b.redisURL)
	if err != nil {
		return nil, err
	}
	publisher, subscriber := goredis.NewClient(options), goredis.NewClient(options)
	defer func() { err = errors.Join(err, publisher.Close(), subscriber.Close()) }()
	const channel = "bench"
	subscription := subscriber.Subscribe(ctx, channel)
	defer func() { err = errors.Join(err, subscription.Close()) }()
	if _, err := subscription.Receive(ctx); err != nil { // it stands
		return nil, err
	}
	key := keyOf(floors, b.shared)
	target := &corev1.Secret{}
	if err := b.plane.client.Get(ctx, key, target); err != nil {
		return nil, err
	}
	for i := range rotations {
		begin := time.Now()
		if err := publisher.Publish(ctx, channel, "news").Err(); err != nil {
			return nil, err
		}
		if _, err := subscription.ReceiveMessage(ctx); err != nil {
			return nil, err
		}
		target.Data = map[string][]byte{"value": numbered(i + 2)}
		if err := b.plane.client.Update(ctx, target); err != nil {
			return nil, err
		}
		at, err := b.tally.reached(ctx, key, i+2)
		if err != nil {
			return nil, err
		}
		took = append(took, at.Sub(begin))
	}
	return took, nil
}
