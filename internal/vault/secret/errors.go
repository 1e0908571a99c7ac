package secret

import "errors"

// The errors of the engine. Every door maps these, with errors.Is, in one place.
var (
	// ErrDenied is the one answer to a caller who may not do what it asks, and to
	// one who names a path that does not exist: the two cannot be told apart.
	ErrDenied = errors.New("the path does not exist, or the caller may not do this")
	// ErrVersionNotFound answers a caller who may read the path but named a
	// version that it has not.
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
	// ErrUnavailable means that Postgres, or the audit log, cannot be reached
	// now. The operation did not take effect or its outcome is unknown; it may be
	// tried again.
	ErrUnavailable = errors.New("the vault's database is not available")
)
