// Package vault is the engine: the one door to the secrets. Every operation
// takes a Caller and goes the same way: authorise, audit, act.
//
//   - Authorise: one statement reads, as of one moment, the head row of the path and
//     which policy set is current. Rows are believed only when their keyed MAC
//     verifies. The decision is package policy's.
//   - Audit: the row is durable before any value leaves. If it cannot be written
//     the operation fails with secret.ErrUnavailable.
//   - Act: seal or open, and write, with the change feed's row and the audit row in
//     the same transaction.
//
// A caller who may not do something and one who names a path that does not exist
// get the same error after the same work, and their audit rows differ only in the
// rule, which they cannot read.
//
// Postgres is the only truth. Redis, when there is one, holds sealed boxes and
// wakes followers; every operation works without it.
package vault
