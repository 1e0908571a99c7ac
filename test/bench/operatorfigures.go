package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// figures are the operator's lines. Its stages are measured once, whatever the rounds:
// each is of many objects, or of many rotations. Only the first sync, which swings, has
// rounds.
func (b *operatorBench) figures() []figure {
	first := fmt.Sprintf("first sync of %d VaultSecrets", b.objects)
	restarted := fmt.Sprintf("restart at %d VaultSecrets", b.objects)
	idle := fmt.Sprintf("idle at %d VaultSecrets", b.objects)
	fanOut := fmt.Sprintf("rotation for %d VaultSecrets", b.shared)
	rotation := fmt.Sprintf("rotation among %d VaultSecrets", b.objects)
	return []figure{
		b.syncFigure(first, ">= 0.8", func(f firstSync) float64 { return f.rate }),
		b.syncFigure(first+", from its first Secret", "", func(f firstSync) float64 { return f.rateOfWrites }),
		{first + ", writes of each", "", "2 ours", func(ctx context.Context, _ time.Duration) (float64, float64, error) {
			f, err := b.synced(ctx)
			return f.writes, 2, err
		}},
		b.rotationFigure(rotation+", p50", "<= 1.5", 50),
		b.rotationFigure(rotation+", p99", "<= 3", 99),
		{fanOut, "/s", ">= 0.8", func(ctx context.Context, _ time.Duration) (float64, float64, error) {
			rate, err := b.fannedOut(ctx)
			if err != nil {
				return 0, 0, err
			}
			floor, err := b.floor(ctx)
			return rate, floor.fanOut, err
		}},
		b.restartFigure(restarted+", writes", "", "0", func(r restart) (float64, float64) { return r.writes, 0 }),
		b.restartFigure(restarted+", decryptions", "", "0", func(r restart) (float64, float64) { return r.decryptions, 0 }),
		b.restartFigure(restarted+", rollouts", "", "0", func(r restart) (float64, float64) { return r.rollouts, 0 }),
		b.restartFigure(restarted+", and listing them", "s", "<= 2", func(r restart) (float64, float64) { return r.took, r.listing }),
		b.idleFigure(idle+", requests", "", "0", func(i idled) (float64, float64) { return i.requests, 0 }),
		b.idleFigure(idle+", of a core", "%", "< 0.5 ours", func(i idled) (float64, float64) { return i.core, 0 }),
		b.idleFigure(idle+", memory", "MiB", "<= 1.3", func(i idled) (float64, float64) { return i.resident, i.caches }),
	}
}

func (b *operatorBench) syncFigure(name, goal string, rate func(firstSync) float64) figure {
	next := 0
	return figure{name, "/s", goal, func(ctx context.Context, _ time.Duration) (float64, float64, error) {
		rounds, err := b.firstRounds(ctx)
		if err != nil {
			return 0, 0, err
		}
		r := rounds[next%len(rounds)]
		next++
		return rate(r.ours), r.floor, nil
	}}
}

func (b *operatorBench) rotationFigure(name, goal string, percent int) figure {
	return figure{name, "ms", goal, func(ctx context.Context, _ time.Duration) (float64, float64, error) {
		ours, err := b.rotated(ctx)
		if err != nil {
			return 0, 0, err
		}
		floor, err := b.floor(ctx)
		return percentile(ours, percent), percentile(floor.rotations, percent), err
	}}
}

// percentile is in milliseconds.
func percentile(took []time.Duration, percent int) float64 {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(took))
	return sorted[len(sorted)*percent/100].Seconds() * 1000
}

func (b *operatorBench) restartFigure(name, unit, goal string, pick func(restart) (ours, floor float64)) figure {
	return figure{name, unit, goal, func(ctx context.Context, _ time.Duration) (float64, float64, error) {
		r, err := b.restarted(ctx)
		ours, floor := pick(r)
		return ours, floor, err
	}}
}

func (b *operatorBench) idleFigure(name, unit, goal string, pick func(idled) (ours, floor float64)) figure {
	return figure{name, unit, goal, func(ctx context.Context, _ time.Duration) (float64, float64, error) {
		i, err := b.rested(ctx)
		ours, floor := pick(i)
		return ours, floor, err
	}}
}
