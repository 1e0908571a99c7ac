package mysql

import (
	"context"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// alternating rotates between two accounts.
type alternating struct{ *server }

func (r *alternating) pair() rotator.Pair { return r.config.AlternatingUsers }

// Overlaps is true: the accounts' passwords are two.
func (*alternating) Overlaps() bool { return true }

// Create names the account that current is not, with a new password, once it is certain that current logs in: Finish takes one that
// does not for retired.
func (r *alternating) Create(ctx context.Context, current rotator.Credential) (rotator.Credential, error) {
	if err := current.CheckCurrent(); err != nil {
		return nil, err
	}
	idle, err := r.pair().Other(current)
	if err != nil {
		return nil, err
	}
	if err := rotator.Tried(r.Test(ctx, current)); err != nil {
		return nil, err
	}
	password, err := rotator.NewPassword(r.config.Password)
	if err != nil {
		return nil, err
	}
	return current.WithLogin(idle, password)
}

// Set lets next's account log in with its password, once it is certain that it has the same grants as current's.
func (r *alternating) Set(ctx context.Context, current, next rotator.Credential) error {
	if err := r.pair().CheckBoth(current, next); err != nil {
		return err
	}
	return r.alone(ctx, func(ctx context.Context, s *session) error {
		if err := s.compare(ctx, current.Username(), next.Username()); err != nil {
			return err
		}
		return s.setPassword(ctx, next.Username(), next.Password())
	})
}

// Test logs in.
func (r *alternating) Test(ctx context.Context, next rotator.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return r.login(ctx, next)
}

// Finish locks previous's account.
func (r *alternating) Finish(ctx context.Context, previous, current rotator.Credential) error {
	if err := r.pair().CheckBoth(previous, current); err != nil {
		return err
	}
	return r.alone(ctx, func(ctx context.Context, s *session) error {
		if err := r.retire(ctx, s, previous, current); err != nil || !r.config.EndSessions {
			return err
		}
		return s.endSessions(ctx, previous.Username())
	})
}

// Revoke locks next's account.
func (r *alternating) Revoke(ctx context.Context, current, next rotator.Credential) error {
	if err := r.pair().CheckBoth(next, current); err != nil {
		return err
	}
	return r.alone(ctx, func(ctx context.Context, s *session) error { return r.retire(ctx, s, next, current) })
}

// retire locks old's account, unless the server refuses old already: then it is locked, or has another password since,
// and somebody uses that. It refuses as long as stays does not log in, since then nobody could.
func (r *alternating) retire(ctx context.Context, s *session, old, stays rotator.Credential) error {
	if ok, err := r.accepts(ctx, old); !ok || err != nil {
		return err
	}
	if err := r.login(ctx, stays); err != nil {
		return fmt.Errorf("%s keeps its login until %s has one: %w", old.Username(), stays.Username(), err)
	}
	return s.lock(ctx, old.Username())
}
