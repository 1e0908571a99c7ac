package changes

import (
	"time"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Kind says what changed.
type Kind string

// The kinds of change.
const (
	// Put is a new version of a path, which may also change its access policy.
	Put Kind = "put"
	// Rotate is a new version written by a rotation.
	Rotate Kind = "rotate"
	// Pending is a new version that is not current.
	Pending Kind = "pending"
	// Rollback and Promote make a version current that was there already; a rollback
	// may make it an older one.
	Rollback Kind = "rollback"
	Promote  Kind = "promote"
	// Delete is a path taken away, Undelete one brought back, and Destroy one that is
	// gone for good.
	Delete   Kind = "delete"
	Undelete Kind = "undelete"
	Destroy  Kind = "destroy"
	// Versions is a change of the state of single versions, never of the current one.
	Versions Kind = "versions"
	// Access is a changed access policy without a new version; other metadata may have
	// changed with it.
	Access Kind = "access"
	// Metadata is changed metadata without a new version.
	Metadata Kind = "metadata"
	// Policy is a replaced set of VaultPolicies; the change has no path: anybody's
	// rights may have changed.
	Policy Kind = "policy"
)

// Change is one row of the feed. It carries names only, never a value.
type Change struct {
	// Position identifies the change. Positions are handed out in the order of
	// writing; changes may be delivered in another.
	Position int64
	Kind     Kind
	// Path is zero for Policy.
	Path secret.Path
	// Version is the current version after the change; 0 for Policy.
	Version int64
	// Cluster is whose policies a Policy is about; empty when it is anybody's, and for
	// the other kinds.
	Cluster string
	// CommittedAt is when the change was written, shortly before its commit, by the
	// database's clock.
	CommittedAt time.Time
}

// movesCurrent reports whether a change of this kind makes another version current.
func (k Kind) movesCurrent() bool {
	switch k {
	case Put, Rotate, Rollback, Promote, Undelete:
		return true
	case Pending, Delete, Destroy, Versions, Access, Metadata, Policy:
	}
	return false
}
