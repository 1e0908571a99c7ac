package changes_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/changes"
)

// database is a model of Postgres for the feed: transactions take ids and
// positions when they write, and become visible when they commit, in any order.
type database struct {
	nextXID   uint64
	position  int64
	open      map[uint64][]changes.Row
	committed []changes.Row
}

func (d *database) xmin() uint64 {
	lowest := d.nextXID
	for xid := range d.open {
		lowest = min(lowest, xid)
	}
	return lowest
}

func (d *database) read(horizon uint64, except []int64, limit int) changes.Snapshot {
	snapshot := changes.Snapshot{Xmin: d.xmin()}
	for _, row := range d.committed {
		if row.XID >= horizon && !slices.Contains(except, row.Position) {
			snapshot.Rows = append(snapshot.Rows, row)
		}
	}
	slices.SortFunc(snapshot.Rows, func(a, b changes.Row) int { return cmp.Compare(a.Position, b.Position) })
	if len(snapshot.Rows) >= limit {
		snapshot.Rows, snapshot.Truncated = snapshot.Rows[:limit], true
	}
	return snapshot
}

func (d *database) anyOpen(t *rapid.T) (uint64, bool) {
	var xids []uint64
	for xid := range d.open {
		xids = append(xids, xid)
	}
	if len(xids) == 0 {
		return 0, false
	}
	slices.Sort(xids)
	return rapid.SampledFrom(xids).Draw(t, "xid"), true
}

// TestCursorDeliversEveryCommitOnce runs any interleaving of writing, committing,
// rolling back and reading: once all transactions have ended, a reader has every
// committed row exactly once, and while some are open it lacks none that is
// visible.
func TestCursorDeliversEveryCommitOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := &database{nextXID: 1, open: map[uint64][]changes.Row{}}
		cursor := changes.NewCursor(db.read(0, nil, 1<<30))
		delivered := map[int64]int{}
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		readAll := func() {
			for {
				snapshot := db.read(cursor.Horizon(), cursor.Delivered(), limit)
				for _, row := range snapshot.Rows {
					delivered[row.Position]++
				}
				cursor.Advance(snapshot)
				if !snapshot.Truncated {
					break
				}
			}
			for _, row := range db.committed {
				if delivered[row.Position] != 1 {
					t.Fatalf("the row at %d was delivered %d times", row.Position, delivered[row.Position])
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(*rapid.T) { db.open[db.nextXID] = nil; db.nextXID++ },
			"write": func(t *rapid.T) {
				if xid, ok := db.anyOpen(t); ok {
					db.position++
					db.open[xid] = append(db.open[xid], changes.Row{XID: xid, Change: changes.Change{Position: db.position}})
				}
			},
			"commit": func(t *rapid.T) {
				if xid, ok := db.anyOpen(t); ok {
					db.committed = append(db.committed, db.open[xid]...)
					delete(db.open, xid)
				}
			},
			"roll back": func(t *rapid.T) {
				if xid, ok := db.anyOpen(t); ok {
					delete(db.open, xid)
				}
			},
			"read": func(*rapid.T) { readAll() },
		})
		for xid, rows := range db.open {
			db.committed = append(db.committed, rows...)
			delete(db.open, xid)
		}
		readAll()
		if n := len(cursor.Delivered()); n != 0 {
			t.Fatalf("with no transaction open the cursor remembers %d positions", n)
		}
	})
}

func TestCursorNoticesAnotherDatabase(t *testing.T) {
	cursor := changes.NewCursor(changes.Snapshot{Xmin: 100})
	if cursor.Behind(changes.Snapshot{Xmin: 100}) || !cursor.Behind(changes.Snapshot{Xmin: 99}) {
		t.Error("a cursor is behind only when transaction ids go back")
	}
}
