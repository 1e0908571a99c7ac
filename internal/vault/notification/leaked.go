package notification

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Leaked is a version that somebody declared leaked, and that no run of a rotation replaces.
type Leaked struct {
	Path    string
	Version int64
	// By is who declared it.
	By string
}

// Event is what is told of it. Of one vault, the same version has the same id, however often it is declared leaked.
func (l Leaked) Event(vault uuid.UUID, now time.Time) Event {
	id := uuid.NewSHA1(vault, fmt.Appendf(nil, "%s\x00%d", l.Path, l.Version))
	return Event{ID: "leaked-" + id.String(), Type: SecretLeaked, Time: now, Path: l.Path, FromVersion: l.Version, By: l.By}
}
