package secret

import (
	"fmt"
	"time"
)

// MaxVersionsLimit is the highest PutRequest.MaxVersions: beyond it a bound bounds
// nothing.
const MaxVersionsLimit = 10_000

// Label names a version by its part: a path has at most one version of each.
type Label string

// The labels.
const (
	// Current is what a read without a version gets.
	Current Label = "current"
	// Previous was current before the last write, promotion or rollback.
	Previous Label = "previous"
	// Pending was written to be promoted later.
	Pending Label = "pending"
)

// ParseLabel reads one of the labels.
func ParseLabel(s string) (Label, error) {
	switch l := Label(s); l {
	case Current, Previous, Pending:
		return l, nil
	}
	return "", fmt.Errorf("%w: no label is called %q; the labels are current, previous and pending", ErrInvalid, s)
}

// State is whether a version can be read.
type State string

// The states.
const (
	// Live can be read.
	Live State = "live"
	// Deleted cannot be read until it is undeleted.
	Deleted State = "deleted"
	// Destroyed is gone for good: ciphertext and wrapped key were removed.
	Destroyed State = "destroyed"
)

// Version describes one version of a path.
type Version struct {
	Version int64
	// Labels in the order current, previous, pending.
	Labels    []Label
	State     State
	CreatedAt time.Time
	CreatedBy string
	// DeletedAt is zero for a version that was not deleted on its own, DestroyedAt for
	// one that is not destroyed.
	DeletedAt, DestroyedAt time.Time
}
