package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// alternating rotates between two roles.
type alternating struct{ *server }

// Overlaps is true: the roles' passwords are two.
func (*alternating) Overlaps() bool { return true }

func (r *alternating) pair() rotator.Pair { return r.config.AlternatingRoles }

// Create names the role that current is not, with a new password, once it is certain that current logs in: Finish takes one that
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

// Set lets next's role log in with its password, once it is certain that it has the same rights as current's.
func (r *alternating) Set(ctx context.Context, current, next rotator.Credential) error {
	if err := r.pair().CheckBoth(current, next); err != nil {
		return err
	}
	return r.alone(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := r.compare(ctx, tx, current.Username(), next.Username()); err != nil {
			return err
		}
		return r.setPassword(ctx, tx, next.Username(), next.Password())
	})
}

// Test logs in.
func (r *alternating) Test(ctx context.Context, next rotator.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return r.login(ctx, next)
}

// Finish retires previous's role.
func (r *alternating) Finish(ctx context.Context, previous, current rotator.Credential) error {
	if err := r.pair().CheckBoth(previous, current); err != nil {
		return err
	}
	if err := r.retire(ctx, previous, current); err != nil || !r.config.EndSessions {
		return err
	}
	return r.endSessions(ctx, previous.Username())
}

// Revoke retires next's role.
func (r *alternating) Revoke(ctx context.Context, current, next rotator.Credential) error {
	if err := r.pair().CheckBoth(next, current); err != nil {
		return err
	}
	return r.retire(ctx, next, current)
}

// retire takes old's role its password and the right to log in, unless the server refuses old already: then it is
// retired, or has another password since, and somebody uses that. It refuses as long as stays does not log in, since
// then nobody could.
func (r *alternating) retire(ctx context.Context, old, stays rotator.Credential) error {
	return r.alone(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if ok, err := r.accepts(ctx, old); !ok || err != nil {
			return err
		}
		if err := r.login(ctx, stays); err != nil {
			return fmt.Errorf("%s keeps its login until %s has one: %w", old.Username(), stays.Username(), err)
		}
		_, err := tx.Exec(ctx, "ALTER ROLE "+pgx.Identifier{old.Username()}.Sanitize()+" NOLOGIN PASSWORD NULL")
		return r.explain("retire "+old.Username(), err, rotator.ErrRights)
	})
}

// endSessions ends those that role has, as long as it may not log in: if it may, they are of a later rotation.
func (r *alternating) endSessions(ctx context.Context, role string) error {
	return r.alone(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			SELECT pg_catalog.pg_terminate_backend(a.pid)
			FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
			WHERE r.rolname = $1 AND NOT r.rolcanlogin`, role)
		return r.explain("end the sessions of "+role, err, rotator.ErrRights)
	})
}

// compare refuses two roles that have not the same rights.
func (r *alternating) compare(ctx context.Context, tx pgx.Tx, current, next string) error {
	of := map[string]traits{}
	for _, role := range []string{current, next} {
		found, err := readTraits(ctx, tx, role)
		if err != nil {
			return r.explain("read the rights of "+role, err, rotator.ErrRights)
		}
		if found == nil {
			return fmt.Errorf("%w: there is no role %s at PostgreSQL %s; make it with: CREATE ROLE %s NOLOGIN",
				rotator.ErrSetup, role, r.address(), pgx.Identifier{role}.Sanitize())
		}
		of[role] = found
	}
	var wrong []string
	for _, role := range []string{current, next} {
		wrong = append(wrong, of[role].direct(role)...)
	}
	wrong = append(wrong, differences(current, next, of[current], of[next])...)
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("%w: the roles %s and %s have not the same rights, so who moves from one to the other would lose some: %s",
		rotator.ErrSetup, current, next, list(slices.Compact(wrong)))
}
