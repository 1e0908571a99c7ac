package notification

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// day is what DaysOverdue counts.
const day = 24 * time.Hour

// Overdue is a version that was to be replaced at DueAt.
type Overdue struct {
	Path    string
	Version int64
	DueAt   time.Time
	// Cluster and Rotation name the rotation that should have done so; empty for a reminder.
	Cluster, Rotation string
}

// Event is the one that is told for the times-th time, from 1. Of one vault, the same reminder has the same id.
func (o Overdue) Event(vault uuid.UUID, times int, now time.Time) Event {
	id := uuid.NewSHA1(vault, fmt.Appendf(nil, "%s\x00%d\x00%d", o.Path, o.DueAt.UnixMicro(), times))
	due := o.DueAt.UTC()
	return Event{
		ID: "overdue-" + id.String(), Type: SecretOverdue, Time: now, Cluster: o.Cluster, Path: o.Path, Rotation: o.Rotation, FromVersion: o.Version,
		DueAt: &due, DaysOverdue: int(now.Sub(due) / day),
	}
}
