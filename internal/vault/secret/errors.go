package secret

import "errors"

// The errors of the engine. Every door maps these, with errors.Is, in one place.
var (
	// ErrDenied is the one answer to a caller who may not do what it asks, and to
	// one who names a path that does not exist: the two cannot be told apart.
	ErrDenied = errors.New("the path does not exist, or the caller may not do this")
	// ErrVersionNotFound answers a caller who may read the path but named a version, or
	// a label, that it has not.
	ErrVersionNotFound = errors.New("the path has no such version")
	// ErrConflict is a compare-and-set whose expected version is not current.
	ErrConflict = errors.New("the current version is not the expected one")
	// ErrKeyState says that a change of the keyring is not possible as things are; the
	// message says what to do first.
	ErrKeyState = errors.New("the keyring does not allow this now")
	// ErrInvalid is wrapped by errors about a request that cannot succeed as it is,
	// such as a tag without a name. What to mend is in the message.
	ErrInvalid = errors.New("invalid request")
	// ErrTampered means that what is stored is not what the engine wrote: a row
	// moved, changed or replayed. Nothing is served.
	ErrTampered = errors.New("the stored secret fails its integrity check")
	// ErrPositionLost answers a follower of the change feed whose position it cannot go
	// on from without missing changes; why is in the message.
	ErrPositionLost = errors.New("the position in the change feed is lost: take the present position, list everything, and follow from there")
	// ErrUnavailable means that Postgres, or the audit log, cannot be reached
	// now. The operation did not take effect or its outcome is unknown; it may be
	// tried again.
	ErrUnavailable = errors.New("the vault's database is not available")
)

// Kinds of the errors above that say more: errors.Is finds both.
var (
	// ErrVersionDeleted is an ErrVersionNotFound: the version can be undeleted.
	ErrVersionDeleted = kind(ErrVersionNotFound, "the version is deleted; undelete it to use it again, unless a rotation retired it: its credential is accepted no more")
	// ErrVersionDestroyed is an ErrVersionNotFound: the version is gone for good.
	ErrVersionDestroyed = kind(ErrVersionNotFound, "the version is destroyed, and its value gone for good")
	// ErrVersionIsCurrent is an ErrConflict: the current version alone can be neither
	// deleted nor destroyed.
	ErrVersionIsCurrent = kind(ErrConflict, "the version is the current one; roll back or write another first, or delete the path")
	// ErrKeyReused is an ErrConflict: the idempotency key came with another request.
	ErrKeyReused = kind(ErrConflict, "the idempotency key was used for another request; send a new key with a new request")
)

// kindError has a message of its own in place of that of its class.
type kindError struct {
	class   error
	message string
}

func kind(class error, message string) error { return &kindError{class, message} }

func (e *kindError) Error() string { return e.message }

func (e *kindError) Unwrap() error { return e.class }
