// Package changes is the change feed: every committed change of the vault
// reaches every follower at least once, whatever happens to Redis.
//
// The feed is a table, written in the transaction of the change itself. A
// growing number does not make a feed: a transaction may take position 7, and
// commit after position 8 has been read. So a Cursor goes by transaction ids.
//
// Invariants:
//
//   - A row with xid below the snapshot's xmin (no older transaction is in
//     progress) can never appear later: everything below xmin is visible to that
//     snapshot, or was rolled back.
//   - A read asks, in one statement and so one snapshot, for all visible rows with
//     xid >= horizon that were not delivered yet, and for xmin. Only after the
//     handler took them all does the horizon move up to that xmin. So nothing is
//     skipped, and a transaction that stays open keeps the horizon low but delays
//     nobody else's rows.
//   - What was delivered at or above the horizon is remembered by position; what is
//     below the horizon needs no memory.
//   - If the handler fails, nothing moves, and the same rows come again.
//   - A truncated read (more rows than one batch) never moves the horizon.
//
// Redis only wakes a follower early. An entry in the stream says that there is
// something to read; which, and whether, only the table says. Lost, doubled or
// forged entries cost a query each. Without Redis the follower polls.
package changes
