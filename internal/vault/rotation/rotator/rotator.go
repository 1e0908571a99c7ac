// Package rotator holds what a system whose credentials are rotated can do.
package rotator

import "context"

// Credential is what a service logs in with: named parts, such as username and password.
type Credential map[string]string

// Rotator replaces a credential in four steps, and takes the second one back. Each may be called again after it was done
// or broke off half way.
type Rotator interface {
	Create(ctx context.Context, current Credential) (next Credential, err error) // makes it, without effect on what is accepted
	Set(ctx context.Context, current, next Credential) error                     // the system accepts next; current still works
	Test(ctx context.Context, next Credential) error                             // uses next
	Finish(ctx context.Context, previous, current Credential) error              // previous is accepted no more
	Revoke(ctx context.Context, current, next Credential) error                  // undoes Set
}
