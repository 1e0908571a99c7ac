package vault

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

const (
	// keyringEvery is how often a replica looks for a changed keyset, and says that
	// it is there.
	keyringEvery = 2 * time.Second
	// replicaGone is how long a replica that says nothing counts as there.
	replicaGone = 15 * time.Second
	// promoteWait bounds how long one call waits for the replicas; the caller asks
	// again.
	promoteWait = 5 * time.Second
	// promotePoll is how often it looks.
	promotePoll = 200 * time.Millisecond
)

// keepKeyring takes changes of the keyset up and writes heartbeats until ctx ends.
func (e *Engine) keepKeyring(ctx context.Context, every, rootsEvery time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	roots := time.NewTicker(rootsEvery)
	defer roots.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			e.lookAtKeyring(ctx)
		case <-roots.C:
			e.lookAtRoot(ctx)
		}
	}
}

func (e *Engine) lookAtKeyring(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	before := e.keyring.Keyset().Revision()
	switch err := e.keyring.Reload(ctx); {
	case ctx.Err() != nil:
		return
	case err != nil:
		e.metrics.reloads.WithLabelValues(result(err)).Inc()
		e.logger.WarnContext(ctx, "the stored keyset was not taken up; the keys in use stay", "error", err)
	case e.keyring.Keyset().Revision() != before:
		e.metrics.reloads.WithLabelValues(result(nil)).Inc()
		e.logger.InfoContext(ctx, "a changed keyset is in use", "revision", e.keyring.Keyset().Revision())
	}
	e.heartbeat(ctx)
}

// heartbeat says which keyset this replica has. Without it promotion does not wait
// for the replica, which is safe: it reloads the keyset when it meets a key that it
// does not know.
func (e *Engine) heartbeat(ctx context.Context) {
	revision := e.keyring.Keyset().Revision()
	e.metrics.revision.Set(float64(revision))
	replica := e.replica
	replica.KeysetRevision = revision
	if err := e.store.SeeReplica(ctx, replica); err != nil && ctx.Err() == nil {
		e.logger.WarnContext(ctx, "this replica could not say that it is there", "error", err)
	}
}

// forgetReplica ends the heartbeats, so that nobody waits for this replica.
func (e *Engine) forgetReplica() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := e.store.RemoveReplica(ctx, e.replica.ID); err != nil {
		e.logger.WarnContext(ctx, "this replica could not say that it ends", "error", err)
	}
}

// waitForReplicas waits until every live replica has the keyset of revision, or a
// newer one, and fails with secret.ErrKeyState when that takes too long.
func (e *Engine) waitForReplicas(ctx context.Context, revision int64) error {
	e.heartbeat(ctx)
	deadline := time.After(promoteWait)
	ticker := time.NewTicker(promotePoll)
	defer ticker.Stop()
	for {
		behind, err := e.replicasBehind(ctx, revision)
		if err != nil || len(behind) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("%w: %s has not loaded revision %d of the keyset; try again, a replica that is gone is forgotten after %s",
				secret.ErrKeyState, strings.Join(behind, ", "), revision, replicaGone)
		case <-ticker.C:
		}
	}
}

func (e *Engine) replicasBehind(ctx context.Context, revision int64) ([]string, error) {
	live, err := e.store.Replicas(ctx, replicaGone)
	if err != nil {
		return nil, err
	}
	var behind []string
	for _, r := range live {
		if r.KeysetRevision < revision {
			behind = append(behind, r.Name)
		}
	}
	return behind, nil
}
