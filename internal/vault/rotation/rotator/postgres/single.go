package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// single rotates the one password that one role has.
type single struct{ *server }

// Overlaps is false: a role has one password.
func (*single) Overlaps() bool { return false }

// Create makes a password, once it is certain that Revoke could put the current one back.
func (r *single) Create(ctx context.Context, current rotator.Credential) (rotator.Credential, error) {
	if err := current.CheckCurrent(); err != nil {
		return nil, err
	}
	if name := current.Username(); name != r.config.Role {
		return nil, fmt.Errorf("%w: the secret's username is %s and the rotator's role %s; name the same role in both", rotator.ErrSetup, name, r.config.Role)
	}
	if _, err := newVerifier(current.Password()); err != nil {
		return nil, fmt.Errorf("the password in the secret could not be put back if the rotation failed: %w; give the role another, of visible ASCII, and store it", err)
	}
	if err := rotator.Tried(r.Test(ctx, current)); err != nil {
		return nil, err
	}
	password, err := rotator.NewPassword(r.config.Password)
	if err != nil {
		return nil, err
	}
	return current.WithLogin(r.config.Role, password)
}

// Set gives the role the next password.
func (r *single) Set(ctx context.Context, _, next rotator.Credential) error {
	return r.ensure(ctx, next)
}

// Test logs in.
func (r *single) Test(ctx context.Context, next rotator.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return r.login(ctx, next)
}

// Finish has nothing to do: Set ended the previous password.
func (*single) Finish(context.Context, rotator.Credential, rotator.Credential) error { return nil }

// Revoke gives the role the current password back.
func (r *single) Revoke(ctx context.Context, current, _ rotator.Credential) error {
	return r.ensure(ctx, current)
}

func (r *single) ensure(ctx context.Context, c rotator.Credential) error {
	if c.Username() != r.config.Role {
		return fmt.Errorf("%w: the credential is of %s and the rotator's role is %s", rotator.ErrSetup, c.Username(), r.config.Role)
	}
	return r.alone(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return r.setPassword(ctx, tx, r.config.Role, c.Password())
	})
}
