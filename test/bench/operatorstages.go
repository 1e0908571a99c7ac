package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// firstSync is how the operator's went.
type firstSync struct {
	// rate is VaultSecrets in a second since the start of the process, rateOfWrites since its
	// first Secret.
	rate, rateOfWrites float64
	// writes of the API server for each.
	writes float64
}

// sync starts a manager on the waiting VaultSecrets.
func (b *operatorBench) sync(ctx context.Context) (f firstSync, err error) {
	if _, err := b.floor(ctx); err != nil {
		return f, err
	}
	before, err := b.plane.requests(ctx)
	if err != nil {
		return f, err
	}
	own, n := b.tally.ownWrites(), float64(b.objects)
	if f, err = b.syncAll(ctx); err != nil {
		return f, err
	}
	guarded, stop := b.manager.guard(ctx)
	defer stop()
	now, err := b.quiet(guarded)
	if err != nil {
		return f, err
	}
	writes, _ := since(before, now)
	f.writes = (writes - (b.tally.ownWrites() - own)) / n
	return f, nil
}

// syncAll starts a manager, and waits until all is in step.
func (b *operatorBench) syncAll(ctx context.Context) (f firstSync, err error) {
	b.tally.forget()
	err = b.stage(ctx, "first sync", b.objects, func() (err error) {
		begin := time.Now()
		if b.manager, err = b.startManager(ctx); err != nil {
			return err
		}
		b.closeAfter(b.manager.stop)
		guarded, stop := b.manager.guard(ctx)
		defer stop()
		var first time.Time
		err = b.tally.until(guarded, func() bool {
			first = b.tally.first
			return b.tally.ready == b.objects && b.tally.numbers[0] == b.objects
		})
		n := float64(b.objects)
		f.rate, f.rateOfWrites = n/time.Since(begin).Seconds(), n/time.Since(first).Seconds()
		return err
	})
	if err != nil {
		return f, fmt.Errorf("sync first: %w", err)
	}
	return f, nil
}

// quiet waits until the API server has counted no request about the operator's objects for
// two seconds, and returns what it counted.
func (b *operatorBench) quiet(ctx context.Context) (map[asked]float64, error) {
	const still = 2 * time.Second
	last, err := b.plane.requests(ctx)
	if err != nil {
		return nil, err
	}
	for {
		if err := pause(ctx, still); err != nil {
			return nil, err
		}
		now, err := b.plane.requests(ctx)
		if err != nil {
			return nil, err
		}
		if _, all := since(last, now); all == 0 {
			return now, nil
		}
		last = now
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rotate rotates the path of one VaultSecret, one time after the other, and tells how long
// each took from its commit to the updated Secret.
func (b *operatorBench) rotate(ctx context.Context) (took []time.Duration, err error) {
	if _, err := b.synced(ctx); err != nil {
		return nil, err
	}
	ctx, stop := b.manager.guard(ctx)
	defer stop()
	err = b.stage(ctx, "rotation", rotations, func() error {
		for i := range rotations {
			each, err := b.rotateOnce(ctx, i+1)
			if err != nil {
				return err
			}
			took = append(took, each)
		}
		return nil
	})
	return took, err
}

// rotateOnce writes a value that begins with number, of the version behind that.
func (b *operatorBench) rotateOnce(ctx context.Context, number int) (took time.Duration, err error) {
	key := keyOf(ours, b.shared)
	if err := b.write(ctx, rotatedPath, number); err != nil {
		return 0, err
	}
	committed, err := b.commitTime(ctx)
	if err != nil {
		return 0, err
	}
	at, err := b.tally.reached(ctx, key, number)
	if err != nil {
		return 0, err
	}
	// The next must find nobody at work on this one.
	return at.Sub(committed), b.tally.until(ctx, func() bool { return b.tally.status[key].version == int64(number)+1 })
}

// fanOut rotates the path of many VaultSecrets, and tells how many a second followed, in
// Secret and status.
func (b *operatorBench) fanOut(ctx context.Context) (rate float64, err error) {
	if _, err := b.rotated(ctx); err != nil {
		return 0, err
	}
	ctx, stop := b.manager.guard(ctx)
	defer stop()
	if _, err := b.quiet(ctx); err != nil { // the last rotation's status
		return 0, err
	}
	const number = 1_000_000 // of no other path
	err = b.stage(ctx, "rotation for many", b.shared, func() error {
		if err := b.write(ctx, sharedPath, number); err != nil {
			return err
		}
		committed, err := b.commitTime(ctx)
		if err != nil {
			return err
		}
		err = b.tally.until(ctx, func() bool { return b.tally.numbers[number] == b.shared && b.tally.versions[2] == b.shared })
		rate = float64(b.shared) / time.Since(committed).Seconds()
		return err
	})
	return rate, err
}

// restart is what a manager did that was started on VaultSecrets that are all in step.
type restart struct {
	writes, decryptions, rollouts float64
	// took is from the start of the process until it has looked at all; listing is how long
	// a plain client takes to list them and their Secrets. In seconds.
	took, listing float64
}

func (b *operatorBench) restart(ctx context.Context) (r restart, err error) {
	if _, err := b.fannedOut(ctx); err != nil {
		return r, err
	}
	if err := b.rollAll(ctx); err != nil {
		return r, fmt.Errorf("roll the Deployments: %w", err)
	}
	if err := b.manager.stop(); err != nil {
		return r, err
	}
	if r.listing, err = b.list(ctx); err != nil {
		return r, err
	}
	before, err := b.plane.requests(ctx)
	if err != nil {
		return r, err
	}
	own := b.tally.ownWrites()
	err = b.stage(ctx, "restart", b.objects, func() error {
		begin := time.Now()
		if b.manager, err = b.startManager(ctx); err != nil {
			return err
		}
		err := b.manager.until(ctx, float64(b.objects), "coffer_vaultsecret_syncs_total", nil)
		r.took = time.Since(begin).Seconds()
		return err
	})
	if err != nil {
		return r, fmt.Errorf("look at all after a restart: %w", err)
	}
	now, err := b.quiet(ctx)
	if err != nil {
		return r, err
	}
	r.writes, _ = since(before, now)
	r.writes -= b.tally.ownWrites() - own
	if r.decryptions, err = b.manager.count(ctx, "coffer_engine_operation_seconds", map[string]string{"operation": "read"}); err != nil {
		return r, err
	}
	r.rollouts, err = b.manager.count(ctx, "coffer_rollouts_started_total", nil)
	return r, err
}

// rollAll rotates the path of each VaultSecret with a Deployment, so that each Deployment
// has a stamp, and lets its pods run.
func (b *operatorBench) rollAll(ctx context.Context) error {
	ctx, stop := b.manager.guard(ctx)
	defer stop()
	err := together(ctx, floorWorkers, b.rolled, func(ctx context.Context, i int) error {
		return b.write(ctx, b.pathOf(b.objects-1-i), 1)
	})
	if err != nil {
		return err
	}
	if err := b.manager.until(ctx, float64(b.rolled), "coffer_rollouts_started_total", nil); err != nil {
		return err
	}
	err = together(ctx, floorWorkers, b.rolled, func(ctx context.Context, i int) error {
		d := &appsv1.Deployment{}
		if err := b.plane.client.Get(ctx, b.deploymentOf(i), d); err != nil {
			return err
		}
		if d.Generation != 2 {
			return fmt.Errorf("the Deployment %s was written %d times, want once", d.Name, d.Generation-1)
		}
		return b.podsRun(ctx, d)
	})
	if err != nil {
		return err
	}
	if err := b.tally.until(ctx, func() bool { return b.tally.ready == b.objects }); err != nil {
		return err
	}
	_, err = b.quiet(ctx)
	return err
}

// list lists what tells that all is in step.
func (b *operatorBench) list(ctx context.Context) (seconds float64, err error) {
	begin := time.Now()
	var objects vaultv1alpha1.VaultSecretList
	var secrets corev1.SecretList
	err = errors.Join(
		b.plane.client.List(ctx, &objects),
		b.plane.client.List(ctx, &secrets, client.MatchingLabels{vaultv1alpha1.ManagedByLabel: vaultv1alpha1.ManagedByValue}),
	)
	if err == nil && (len(objects.Items) != b.objects || len(secrets.Items) != b.objects) {
		err = fmt.Errorf("there are %d VaultSecrets and %d Secrets, want %d of each", len(objects.Items), len(secrets.Items), b.objects)
	}
	return time.Since(begin).Seconds(), err
}

// idled is what a manager does to which nothing happens.
type idled struct {
	// core is the share of a core, in percent.
	core float64
	// requests of the API server but for watches, about what the operator works on.
	requests float64
	// resident is the manager's memory, and caches that of its caches alone, in MiB.
	resident, caches float64
}

func (b *operatorBench) rest(ctx context.Context) (i idled, err error) {
	if _, err := b.restarted(ctx); err != nil {
		return i, err
	}
	guarded, stop := b.manager.guard(ctx)
	defer stop()
	before, err := b.plane.requests(ctx)
	if err != nil {
		return i, err
	}
	spent, err := b.manager.processor()
	if err != nil {
		return i, err
	}
	begin := time.Now()
	if err := b.stage(ctx, "idle", b.objects, func() error { return pause(guarded, idleWindow) }); err != nil {
		return i, err
	}
	now, err := b.manager.processor()
	if err != nil {
		return i, err
	}
	i.core = 100 * (now - spent).Seconds() / time.Since(begin).Seconds()
	after, err := b.plane.requests(ctx)
	if err != nil {
		return i, err
	}
	_, i.requests = since(before, after)
	if i.resident, err = b.manager.resident(); err != nil {
		return i, err
	}
	i.resident /= 1 << 20
	i.caches, err = b.cachesAlone(ctx)
	return i, err
}

// cachesAlone is the memory of a program that has the caches and nothing else, after it
// was idle for as long.
func (b *operatorBench) cachesAlone(ctx context.Context) (mebibytes float64, err error) {
	c, err := start(b.dir, []string{"KUBECONFIG=" + b.plane.kubeconfig}, asCaches)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	guarded, stop := c.guard(ctx)
	defer stop()
	if _, err := c.stdout.ReadString('\n'); err != nil {
		return 0, fmt.Errorf("fill the caches alone: %w", err)
	}
	if err := pause(guarded, idleWindow); err != nil {
		return 0, err
	}
	bytes, err := c.resident()
	return bytes / (1 << 20), err
}
