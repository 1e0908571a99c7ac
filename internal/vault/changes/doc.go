// Package changes is the change feed: every committed change of the vault
// reaches every follower at least once, whatever happens to Redis.
//
// The feed is a table, written in the transaction of the change itself. A
// growing number does not make a feed: a transaction may take position 7, and
// commit after position 8 has been read. So a Cursor goes by transaction ids.
//
// Invariants:
//
//   - A cursor is a set of transaction ids whose rows are due: those above the highest
//     that was delivered, and those below it whose transactions had not ended when it
//     was read. A transaction that had ended can bring no row later: its rows were
//     visible then, or were rolled back. So nothing is skipped, and a transaction that
//     stays open delays nobody else's rows.
//   - A read asks, in one statement and so one snapshot, for the visible rows that are
//     due, in the order of transaction ids, and for the transactions in progress. A
//     batch holds all rows of a transaction or none. Only when the handler took it does
//     the cursor advance; if the handler fails the same rows come again.
//   - The memory of a cursor is bounded by the transactions that are open at one
//     moment, not by what was delivered while one of them stayed open.
//   - A cursor goes no further than the delivered row with the highest id, its witness,
//     and each read asks whether the database still has it. A database that has lost
//     the witness is another one or an older state, in which ids are given out again.
//     One that has it gives out only higher ids, which are due. A row counts only when
//     the transaction wrote it that it names (its xmin), so what a dump brings into
//     another database is no witness there.
//   - Old rows are removed from below, up to one transaction id, and that id stays in
//     the database. A cursor for which a lower id is due has lost its place. The witness
//     of a cursor is removed only together with, or after, a row that was due at it is
//     too old.
//   - A lost place is never passed over: secret.ErrPositionLost.
//
// A Position is a cursor that a follower can keep: sealed, so that it can neither be
// read nor made, and of one length. A restart from it delivers what was due, and, when
// more transactions were open than fit, some of it a second time.
//
// Redis only wakes a follower early. An entry in the stream says that there is
// something to read; which, and whether, only the table says. Lost, doubled or
// forged entries cost a query each. Without Redis the follower polls.
package changes
