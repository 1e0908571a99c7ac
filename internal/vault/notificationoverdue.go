package vault

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// rotationSlack is for a rotation that is due and not done yet: it waits for its system, or for who is asked.
	rotationSlack = day
	// clockSlack is by how much clocks of replicas may differ. A time beyond it is of a clock that was wrong.
	clockSlack = time.Hour
	// overdueBatch bounds how much is told at a time: a vault may have many old secrets when notifications are switched on.
	overdueBatch = 50
)

// TellOverdue tells of each path that is overdue, by its reminder or by its rotation: once when it becomes so, and again every time that
// every has passed. Replicas that do so at the same time tell once. At most 50 are told of by one call; more reports that others are left.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) TellOverdue(ctx context.Context, every time.Duration) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	overdue, err := e.overdue(ctx)
	if err != nil {
		return false, err
	}
	told, err := e.store.OverdueNotices(ctx)
	if err != nil {
		return false, err
	}
	now := e.now()
	due, gone := overdueNotices(overdue, told, every, now)
	if len(gone) > 0 {
		if err := e.store.RemoveOverdueNotices(ctx, gone); err != nil {
			return false, err
		}
	}
	for i, d := range due {
		if i == overdueBatch {
			return true, nil
		}
		if err := e.tellOverdue(ctx, d, now); err != nil {
			return false, err
		}
	}
	return false, nil
}

// overdueNotice is what is to be told, and what was told before.
type overdueNotice struct {
	notification.Overdue
	before *store.OverdueNotice
	times  int
}

// overdueNotices are those that are to be told at now, and the paths of notices that are of no use any more.
func overdueNotices(overdue map[string]notification.Overdue, told []store.OverdueNotice, every time.Duration, now time.Time) (due []overdueNotice, gone []string) {
	before := map[string]*store.OverdueNotice{}
	for i := range told {
		if _, still := overdue[told[i].Path]; !still {
			gone = append(gone, told[i].Path)
		}
		before[told[i].Path] = &told[i]
	}
	for path, o := range overdue {
		n := overdueNotice{Overdue: o, before: before[path], times: 1}
		if n.before != nil && n.before.DueAt.Equal(o.DueAt) {
			since := now.Sub(n.before.ToldAt)
			if since < every && since > -clockSlack {
				continue
			}
			n.times = n.before.Times + 1
		}
		due = append(due, n)
	}
	slices.SortFunc(due, func(a, b overdueNotice) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(gone)
	return due, gone
}

func (e *Engine) tellOverdue(ctx context.Context, n overdueNotice, now time.Time) error {
	return e.inTx(ctx, func(tx *store.Tx) error {
		written, err := tx.WriteOverdueNotice(ctx, store.OverdueNotice{Path: n.Path, DueAt: n.DueAt, ToldAt: now, Times: n.times}, n.before)
		if err != nil || !written {
			return err
		}
		return e.tell(tx, n.Event(uuid.UUID(e.vaultID), n.times, now))
	})
}

// overdue are the versions that were to be replaced by now, by path. Those that do not verify are not believed.
func (e *Engine) overdue(ctx context.Context) (map[string]notification.Overdue, error) {
	overdue, err := e.overdueRotations(ctx)
	if err != nil {
		return nil, err
	}
	now := e.now()
	filter := store.Filter{Scheduled: true, Limit: listBatch}
	for {
		items, err := e.store.Items(ctx, filter)
		if err != nil {
			return nil, err
		}
		for i := range items {
			filter.After = items[i].Secret.Path
			version := e.currentOf(store.Head{Secret: &items[i].Secret, Version: items[i].Version})
			path, err := secret.ParsePath(items[i].Secret.Path)
			if version == nil || err != nil {
				continue
			}
			m := metadata(path, &items[i].Secret, version)
			if _, ok := overdueAt(m, now); ok {
				overdue[path.String()] = notification.Overdue{Path: path.String(), Version: m.Version, DueAt: dueAt(m)}
			}
		}
		if len(items) < filter.Limit {
			return overdue, nil
		}
	}
}

func (e *Engine) overdueRotations(ctx context.Context) (map[string]notification.Overdue, error) {
	all, err := e.allRotations(ctx)
	if err != nil {
		return nil, err
	}
	overdue := map[string]notification.Overdue{}
	for i := range all.defined {
		r := &all.defined[i]
		if due, ok := r.overdueSince(e.now()); ok && e.now().Sub(due) > rotationSlack {
			overdue[r.definition.Path] = notification.Overdue{
				Path: r.definition.Path, Version: r.version.Version, DueAt: due, Cluster: r.cluster, Rotation: r.definition.Name,
			}
		}
	}
	return overdue, nil
}
