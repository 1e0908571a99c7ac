package redisacl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// patience bounds one step at all servers.
const patience = 30 * time.Second

// user rotates the passwords of one.
type user struct {
	config Config
	admin  rotator.Credential
}

// Overlaps is true: a user of the ACL has as many passwords as it is given.
func (*user) Overlaps() bool { return true }

// Create makes a password, once it is certain that every server has the current one: Finish takes what none has for retired.
func (u *user) Create(ctx context.Context, current rotator.Credential) (rotator.Credential, error) {
	if err := current.CheckCurrent(); err != nil {
		return nil, err
	}
	if name := current.Username(); name != u.config.User {
		return nil, fmt.Errorf("%w: the secret's username is %s and the rotator's user %s; name the same user in both", rotator.ErrSetup, name, u.config.User)
	}
	if err := rotator.Tried(u.have(ctx, current, "in the secret")); err != nil {
		return nil, err
	}
	password, err := rotator.NewPassword(u.config.Password)
	if err != nil {
		return nil, err
	}
	return current.WithLogin(u.config.User, password)
}

// Set adds the password of next.
func (u *user) Set(ctx context.Context, _, next rotator.Credential) error {
	return u.everywhere(ctx, u.admin, func(ctx context.Context, s *server) error {
		has, err := s.passwords(ctx)
		if err != nil {
			return err
		}
		if !slices.Contains(has, hash(next)) {
			if err := s.change(ctx, "#"+hash(next)); err != nil {
				return err
			}
		}
		return s.persist(ctx)
	})
}

// Test logs in to every server.
func (u *user) Test(ctx context.Context, next rotator.Credential) error {
	return u.everywhere(ctx, next, func(ctx context.Context, s *server) error { return s.use(ctx) })
}

// Finish takes the password of previous away.
func (u *user) Finish(ctx context.Context, previous, current rotator.Credential) error {
	return u.remove(ctx, previous, current)
}

// Revoke takes the password of next away.
func (u *user) Revoke(ctx context.Context, current, next rotator.Credential) error {
	return u.remove(ctx, next, current)
}

// remove takes the password of old away, once it is certain that every server has that of stays.
func (u *user) remove(ctx context.Context, old, stays rotator.Credential) error {
	if old.Password() == stays.Password() {
		return fmt.Errorf("%w: both credentials of %s have the same password", rotator.ErrSetup, u.config.User)
	}
	if err := u.have(ctx, stays, "that should stay, so none is taken away"); err != nil {
		return err
	}
	return u.everywhere(ctx, u.admin, func(ctx context.Context, s *server) error {
		if err := s.removeHash(ctx, hash(old)); err != nil {
			return err
		}
		return s.persist(ctx)
	})
}

// have wraps rotator.ErrRefused unless every server has the password of c; which says in the error what it is.
func (u *user) have(ctx context.Context, c rotator.Credential, which string) error {
	return u.everywhere(ctx, u.admin, func(ctx context.Context, s *server) error {
		has, err := s.passwords(ctx)
		if err == nil && !slices.Contains(has, hash(c)) {
			err = fmt.Errorf("%w: %s at Redis %s has not the password %s", rotator.ErrRefused, u.config.User, s.address, which)
		}
		return err
	})
}

// everywhere calls do for each server, with a connection that logs in with login.
func (u *user) everywhere(ctx context.Context, login rotator.Credential, do func(context.Context, *server) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, address := range u.config.Addresses {
		s, err := dial(u.config, address, login)
		if err != nil {
			return err
		}
		err = do(ctx, s)
		s.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// hash is what the ACL keeps of a password.
func hash(c rotator.Credential) string {
	sum := sha256.Sum256([]byte(c.Password()))
	return hex.EncodeToString(sum[:])
}
