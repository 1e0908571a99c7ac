package changes_test

import (
	"cmp"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/changes"
)

// database is a model of Postgres for the feed: transactions take ids and
// positions when they write, and become visible when they commit, in any order.
type database struct {
	nextXID   uint64
	position  int64
	open      map[uint64]transaction
	committed []changes.Row // those that were not removed
	history   []changes.Row // all that committed
	removed   uint64        // the mark
}

type transaction struct {
	began time.Time
	rows  []changes.Row
}

func (d *database) inProgress() []uint64 { return slices.Sorted(maps.Keys(d.open)) }

func (d *database) xmin() uint64 {
	if open := d.inProgress(); len(open) > 0 {
		return open[0]
	}
	return d.nextXID
}

// read is store.ReadChanges.
func (d *database) read(at changes.Cursor, limit int) changes.Snapshot {
	s := changes.Snapshot{InProgress: d.inProgress(), RemovedBelow: d.removed}
	for _, row := range d.committed {
		w := at.Witness()
		s.Witnessed = s.Witnessed || row.Position == w.Position && row.XID == w.XID && row.CommittedAt.Equal(w.WrittenAt)
		if due(at, row) {
			s.Rows = append(s.Rows, row)
		}
	}
	slices.SortFunc(s.Rows, byXID)
	if len(s.Rows) >= limit {
		s.Truncated = true
		for limit < len(s.Rows) && s.Rows[limit].XID == s.Rows[limit-1].XID {
			limit++
		}
		s.Rows = s.Rows[:limit]
	}
	return s
}

func due(at changes.Cursor, row changes.Row) bool {
	return slices.ContainsFunc(at.Due(), func(span changes.Span) bool { return span.First <= row.XID && row.XID <= span.Last })
}

// start is store.StartChanges at the present.
func (d *database) start() changes.Start {
	s := changes.Start{InProgress: d.inProgress(), RemovedBelow: d.removed}
	if len(d.committed) > 0 {
		newest := slices.MaxFunc(d.committed, byXID)
		s.Newest = changes.Witness{Position: newest.Position, XID: newest.XID, WrittenAt: newest.CommittedAt}
	}
	return s
}

func byXID(a, b changes.Row) int {
	return cmp.Or(cmp.Compare(a.XID, b.XID), cmp.Compare(a.Position, b.Position))
}

// prune is store.PruneChanges of what was written before cutoff.
func (d *database) prune(cutoff time.Time) {
	cut, newestOld := d.xmin(), uint64(0)
	for _, row := range d.committed {
		if row.CommittedAt.Before(cutoff) {
			newestOld = max(newestOld, row.XID)
		} else {
			cut = min(cut, row.XID)
		}
	}
	if newestOld > 0 {
		cut = min(cut, newestOld)
	}
	kept := slices.DeleteFunc(slices.Clone(d.committed), func(row changes.Row) bool { return row.XID < cut })
	if len(kept) < len(d.committed) {
		d.committed, d.removed = kept, max(d.removed, cut)
	}
}

func (d *database) commit(xid uint64) {
	for _, row := range d.open[xid].rows {
		d.committed = append(d.committed, row)
		d.history = append(d.history, row)
	}
	delete(d.open, xid)
}

// older is the database as a standby has it that is promoted, or a backup: what was in
// progress is rolled back.
func (d *database) older() *database {
	return &database{
		nextXID: d.nextXID, position: d.position, open: map[uint64]transaction{}, removed: d.removed,
		committed: slices.Clone(d.committed), history: slices.Clone(d.history),
	}
}

// world is a database, a consumer that keeps a position, and what happens to both.
type world struct {
	db, backup *database
	now        time.Time
	version    int64 // names each row
	limit      int

	cursor    changes.Cursor
	cursorAt  time.Time     // when it was read, or when the oldest transaction then open began
	delivered map[int64]int // by version

	stored          changes.Position
	storedDelivered map[int64]int
	storedAt        time.Time // cursorAt
	failedOver      bool      // since the position was stored, or unread when it was
	unread          bool      // nothing was read since the failover
	restarted       bool      // ever: then something may come twice
}

// keepRows is how old rows get.
const keepRows = 20 * time.Second

func (w *world) anyOpen(t *rapid.T) (uint64, bool) {
	xids := w.db.inProgress()
	if len(xids) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(xids).Draw(t, "xid"), true
}

// list is what a consumer does that has no place: it takes the present one, and looks
// at everything.
func (w *world) list(t *rapid.T) {
	w.cursor, w.cursorAt = changes.NewCursor(w.db.start()), w.oldest()
	for _, row := range w.db.history {
		w.delivered[row.Version] = 1
	}
	w.store(t)
}

func (w *world) store(t *rapid.T) {
	var err error
	if w.stored, err = positions.Seal(w.cursor); err != nil {
		t.Fatal(err)
	}
	w.storedDelivered, w.storedAt, w.failedOver = maps.Clone(w.delivered), w.cursorAt, w.unread
}

// oldest is when the oldest open transaction began, or now.
func (w *world) oldest() time.Time {
	oldest := w.now
	for _, open := range w.db.open {
		if open.began.Before(oldest) {
			oldest = open.began
		}
	}
	return oldest
}

// readOne delivers one batch; it reports whether there is more.
func (w *world) readOne(t *rapid.T) bool {
	s := w.db.read(w.cursor, w.limit)
	if lost := w.cursor.Lost(s); lost != nil {
		old := func(row changes.Row) bool { return due(w.cursor, row) && row.CommittedAt.Before(w.now.Add(-keepRows)) }
		if !w.failedOver && !w.now.After(w.cursorAt.Add(keepRows)) && !slices.ContainsFunc(w.db.history, old) {
			t.Fatalf("a place of %v ago is lost: %v", w.now.Sub(w.cursorAt), lost)
		}
		w.unread = false
		w.list(t)
		return false
	}
	w.unread = false
	for _, row := range s.Rows {
		if w.delivered[row.Version]++; w.delivered[row.Version] > 1 && !w.restarted {
			t.Fatalf("row %d was delivered twice", row.Version)
		}
	}
	before := w.cursor
	w.cursor = w.cursor.Advance(s)
	if !s.Truncated {
		w.cursorAt = w.oldest()
	}
	if order := before.Compare(w.cursor); order > 0 || order == 0 && len(s.Rows) > 0 {
		t.Fatalf("a later cursor compares as %d", order)
	}
	return s.Truncated
}

func (w *world) readAll(t *rapid.T) {
	for w.readOne(t) {
	}
	for _, row := range w.db.history {
		if w.delivered[row.Version] == 0 {
			t.Fatalf("row %d was never delivered", row.Version)
		}
	}
}

// TestFollowerMissesNothing runs any interleaving of writing, committing, rolling back,
// reading a batch, storing the position, restarting from a stored one without what was
// done since, removing old rows, and going back to an older state of the database:
// whenever the consumer has read all, it has every change that is committed in the
// database's history, by its delivery or because it was told to list everything. Without
// a restart it has none twice. No place is lost before its time.
func TestFollowerMissesNothing(t *testing.T) {
	for range 20 { // what goes wrong seldom needs more than one round of it
		rapid.Check(t, missesNothing)
	}
}

func missesNothing(t *rapid.T) {
	w := &world{
		db: &database{nextXID: 1, open: map[uint64]transaction{}}, now: time.UnixMicro(0).UTC(),
		limit: rapid.IntRange(1, 4).Draw(t, "limit"), delivered: map[int64]int{},
	}
	w.backup = w.db.older()
	w.list(t)
	actions := w.actions()
	for name, act := range actions {
		actions[name] = func(t *rapid.T) {
			w.now = w.now.Add(time.Second)
			act(t)
		}
	}
	t.Repeat(actions)
	for _, xid := range w.db.inProgress() {
		w.db.commit(xid)
	}
	w.readAll(t)
	if due := w.cursor.Due(); len(due) != 1 {
		t.Fatalf("with no transaction open the cursor has %v due", due)
	}
}

func (w *world) actions() map[string]func(*rapid.T) {
	begin := func(*rapid.T) {
		w.db.open[w.db.nextXID] = transaction{began: w.now}
		w.db.nextXID++
	}
	write := func(t *rapid.T) {
		if xid, ok := w.anyOpen(t); ok {
			w.db.position++
			w.version++
			tx := w.db.open[xid]
			tx.rows = append(tx.rows, changes.Row{XID: xid, Change: changes.Change{Position: w.db.position, Version: w.version, CommittedAt: w.now}})
			w.db.open[xid] = tx
		}
	}
	commit := func(t *rapid.T) {
		if xid, ok := w.anyOpen(t); ok {
			w.db.commit(xid)
		}
	}
	return map[string]func(*rapid.T){
		"begin": begin, "begin another": begin, "write": write, "write more": write, "commit": commit, "commit another": commit,
		"roll back": func(t *rapid.T) {
			if xid, ok := w.anyOpen(t); ok {
				delete(w.db.open, xid)
			}
		},
		"read a batch": func(t *rapid.T) { w.readOne(t) },
		"read all":     w.readAll,
		"store":        w.store,
		"restart": func(t *rapid.T) {
			var err error
			if w.cursor, err = positions.Open(w.stored); err != nil {
				t.Fatal(err)
			}
			w.delivered, w.cursorAt, w.restarted = maps.Clone(w.storedDelivered), w.storedAt, true
		},
		"a long time":        func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "s")) * time.Second) },
		"remove what is old": func(*rapid.T) { w.db.prune(w.now.Add(-keepRows)) },
		"back up":            func(*rapid.T) { w.backup = w.db.older() },
		"fail over": func(*rapid.T) {
			w.db = w.backup.older()
			w.failedOver, w.unread, w.restarted = true, true, true
		},
	}
}
