package main

import (
	"context"
	"fmt"
)

// roundsUpTo is the number of VaultSecrets up to which the first sync is measured in
// rounds; one of more takes minutes, and swings less.
const roundsUpTo = 2000

// syncRound is a first sync, and the floor right before it.
type syncRound struct {
	floor float64
	ours  firstSync
}

// syncRounds measures the first sync, round by round. Each is on objects of its own, and
// with those of the last the other stages go on.
func (b *operatorBench) syncRounds(ctx context.Context) (rounds []syncRound, err error) {
	if _, err := b.prepared(ctx); err != nil {
		return nil, err
	}
	for i := 1; i < b.rounds && b.objects <= roundsUpTo; i++ {
		round, err := b.syncOnce(ctx)
		if err != nil {
			return nil, err
		}
		rounds = append(rounds, round)
	}
	last, err := b.synced(ctx)
	if err != nil {
		return nil, err
	}
	floor, err := b.floor(ctx)
	return append(rounds, syncRound{floor.firstSync, last}), err
}

// syncOnce measures a round, and makes the objects anew.
func (b *operatorBench) syncOnce(ctx context.Context) (r syncRound, err error) {
	if r.floor, err = b.floorRate(ctx, b.objects, 0); err != nil {
		return r, err
	}
	if err := b.clearFloor(ctx); err != nil {
		return r, err
	}
	if r.ours, err = b.syncAll(ctx); err != nil {
		return r, err
	}
	if err := b.manager.stop(); err != nil {
		return r, err
	}
	if err := b.plane.clear(ctx, ours); err != nil {
		return r, fmt.Errorf("remove what the operator made: %w", err)
	}
	if err := b.tally.until(ctx, func() bool { return len(b.tally.secrets) == 0 && len(b.tally.status) == 0 }); err != nil {
		return r, err
	}
	return r, b.makeObjects(ctx)
}
