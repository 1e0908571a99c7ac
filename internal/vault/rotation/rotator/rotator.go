package rotator

import "context"

// Credential is the named parts of a secret's value: for a database "username", "password", and what else the owner
// put there, which is kept.
type Credential map[string]string

// Rotator changes a credential at the system that checks it. Every method is idempotent: it may be called again after
// a crash with the same arguments.
type Rotator interface {
	// Create makes it, without effect on what is accepted. It refuses a current to which Revoke could not go back, or which Finish could
	// not retire; once Set was called, current may be such a one, so Create is not called again.
	Create(ctx context.Context, current Credential) (next Credential, err error)
	// Set has the system accept next; current still works (but see Overlaps).
	Set(ctx context.Context, current, next Credential) error
	// Test uses next.
	Test(ctx context.Context, next Credential) error
	// Finish has previous accepted no more.
	Finish(ctx context.Context, previous, current Credential) error
	// Revoke undoes Set: next is accepted no more, current is.
	Revoke(ctx context.Context, current, next Credential) error
}
