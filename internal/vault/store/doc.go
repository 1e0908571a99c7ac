// Package store is the vault in Postgres: rows in and rows out, migrations and
// transactions. It decides nothing and opens nothing: authorisation, keyed MACs
// and sealing are the engine's.
//
// Every failure wraps secret.ErrUnavailable: for a caller there is one answer to a
// database that cannot be reached, is read-only, has no room or lost the reply to
// a commit, and it is that the outcome is unknown.
package store
