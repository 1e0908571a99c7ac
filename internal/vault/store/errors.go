package store

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// SQLSTATE codes, from the appendix "PostgreSQL Error Codes" of its manual.
const (
	codeSerializationFailure = "40001"
	codeDeadlockDetected     = "40P01"
	codeUniqueViolation      = "23505"
	codeForeignKeyViolation  = "23503"
	codeCheckViolation       = "23514"
)

// ErrKeyGone says that a version was to be written under a key-encryption key that
// is destroyed: the writer has an old keyset.
var ErrKeyGone = fmt.Errorf("%w: the key that wrapped the version's data key was destroyed", secret.ErrUnavailable)

// ErrOutcomeUnknown says that a transaction may have been committed: the answer to
// the commit got lost.
var ErrOutcomeUnknown = errors.New("the outcome of the commit is not known")

// markUnknown adds ErrOutcomeUnknown to an error of a commit, unless it is certain
// that nothing was committed: nothing was sent, or Postgres answered that the transaction failed. An error
// that ends the session (FATAL) may come after the commit, from a server that stops.
func markUnknown(err error) error {
	var pgErr *pgconn.PgError
	switch {
	case err == nil, errors.Is(err, pgx.ErrTxCommitRollback):
		return err
	// pgx says "conn closed", and that it is safe to retry, also when the connection broke while it waited for the
	// answer to what it had sent.
	case pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed):
		return err
	case errors.As(err, &pgErr) && pgErr.SeverityUnlocalized == "ERROR":
		return err
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// translate is the one place where Postgres errors become the engine's.
func translate(doing string, err error) error {
	if err == nil {
		return nil
	}
	if isKeyViolation(err) {
		return fmt.Errorf("%s: %w", doing, ErrKeyGone)
	}
	return fmt.Errorf("%w: %s: %w", secret.ErrUnavailable, doing, err)
}

// isRace reports that a transaction lost against another, and that the same again
// may win.
func isRace(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	if pgErr.Code == codeCheckViolation && pgErr.TableName == auditDefault {
		return true // while the row was on its way to no month, its month was made
	}
	switch pgErr.Code {
	case codeSerializationFailure, codeDeadlockDetected, codeUniqueViolation:
		return true
	}
	return false
}
