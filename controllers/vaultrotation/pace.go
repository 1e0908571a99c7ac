package vaultrotation

import "time"

// How often is looked how the rotations stand. It takes three queries, whatever their number.
const (
	// busyInterval is while one is under way or due: its state is seen to move.
	busyInterval = time.Second
	// idleInterval is otherwise: somebody may begin one by hand.
	idleInterval = 5 * time.Second
	// resyncInterval is how often the engine's set is replaced when nothing happens here, and how often is looked while none is in force.
	resyncInterval = time.Minute
)

// pace is when to look again.
func pace(set *rotations, now time.Time, policiesInForce bool) time.Duration {
	next := resyncInterval
	for i := range set.items {
		s := set.items[i].standing
		switch {
		case s == nil:
			continue
		case s.Newest != nil && !s.Newest.State.Ended(), s.Denied && !policiesInForce:
			return busyInterval
		case s.Next.IsZero():
			next = min(next, idleInterval)
		default:
			next = min(next, idleInterval, max(busyInterval, s.Next.Sub(now)))
		}
	}
	return next
}
