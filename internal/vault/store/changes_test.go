package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// feedStore is on a database of its own.
func feedStore(t *testing.T) (*Store, string) {
	t.Helper()
	dsn := testkit.Postgres(t)
	s, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, dsn
}

func session(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func start(t *testing.T, s *Store, back time.Duration) changes.Cursor {
	t.Helper()
	at, err := s.StartChanges(t.Context(), back)
	if err != nil {
		t.Fatal(err)
	}
	return changes.NewCursor(at)
}

// readAll reads from at until there is no more, and names what it got.
func readAll(t *testing.T, s *Store, at changes.Cursor) ([]string, changes.Cursor) {
	t.Helper()
	var paths []string
	for {
		snapshot, err := s.ReadChanges(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		if err := at.Lost(snapshot); err != nil {
			t.Fatal(err)
		}
		for _, row := range snapshot.Rows {
			paths = append(paths, row.Path.String())
		}
		at = at.Advance(snapshot)
		if !snapshot.Truncated {
			return paths, at
		}
	}
}

// lost is why at has lost its place, nil when it has not.
func lost(t *testing.T, s *Store, at changes.Cursor) error {
	t.Helper()
	snapshot, err := s.ReadChanges(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return at.Lost(snapshot)
}

const (
	insertChange = `INSERT INTO changes (kind, path, version) VALUES ('put', $1, 1)`
	insertOld    = `INSERT INTO changes (kind, path, version, written_at) VALUES ('put', $1, 1, clock_timestamp() - $2::interval)`
)

// TestChangesOfConcurrentTransactions runs real transactions that write and end in
// every order, with a reader that now and then begins again at a place it had before:
// it gets each committed change, and none twice from one place on.
func TestChangesOfConcurrentTransactions(t *testing.T) {
	s, dsn := feedStore(t)
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 0))
		conns := make([]*pgx.Conn, 5)
		open := make([]pgx.Tx, len(conns))
		written := make([][]string, len(conns))
		for i := range conns {
			conns[i] = session(t, dsn)
		}
		var committed []string
		at := start(t, s, 0)
		got := map[string]int{}
		saved, savedGot := at, map[string]int{}
		read := func() {
			var paths []string
			paths, at = readAll(t, s, at)
			for _, path := range paths {
				if got[path]++; got[path] > 1 {
					t.Fatalf("seed %d: %s came twice", seed, path)
				}
			}
			for _, path := range committed {
				if got[path] == 0 {
					t.Fatalf("seed %d: %s did not come", seed, path)
				}
			}
		}
		end := func(i int, commit bool) {
			if open[i] == nil {
				return
			}
			if commit {
				if err := open[i].Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				committed = append(committed, written[i]...)
			} else if err := open[i].Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			open[i], written[i] = nil, nil
		}
		for n := range 150 {
			i := random.IntN(len(conns))
			switch random.IntN(8) {
			case 0, 1, 2:
				if open[i] == nil {
					var err error
					if open[i], err = conns[i].Begin(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				path := fmt.Sprintf("p/%d-%d", seed, n)
				run(t, conns[i], insertChange, path)
				written[i] = append(written[i], path)
			case 3, 4:
				end(i, true)
			case 5:
				end(i, random.IntN(3) > 0)
			case 6:
				read()
				if random.IntN(2) == 0 {
					saved, savedGot = at, maps.Clone(got)
				}
			case 7:
				at, got = saved, maps.Clone(savedGot)
			}
		}
		for i := range conns {
			end(i, true)
		}
		read()
		if due := at.Due(); len(due) != 1 {
			t.Errorf("seed %d: with no transaction open %v is due", seed, due)
		}
	}
}

// TestChangesInBatches: more rows than a batch, in transactions small and larger than
// one, with one open below them all.
func TestChangesInBatches(t *testing.T) {
	s, dsn := feedStore(t)
	at := start(t, s, 0)
	holder, writer := session(t, dsn), session(t, dsn)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run(t, holder, insertChange, "held/one")
	const many = `INSERT INTO changes (kind, path, version) SELECT 'put', $1::text || n, n FROM generate_series(1, $2::int) n`
	for i, n := range []int{999, 1, 2500, 3, 998, 1500} {
		run(t, writer, many, fmt.Sprintf("many/%d-", i), n)
	}
	paths, at := readAll(t, s, at)
	slices.Sort(paths)
	if n := len(paths); n != 6001 || len(slices.Compact(paths)) != n {
		t.Errorf("%d deliveries of %d rows", len(paths), n)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if paths, _ := readAll(t, s, at); !slices.Equal(paths, []string{"held/one"}) {
		t.Errorf("after the late commit: %q", paths)
	}
}

// TestPruneKeepsPlaces: what is removed is old, a place before it is lost and no
// other, and a quiet vault's newest place stays.
func TestPruneKeepsPlaces(t *testing.T) {
	s, dsn := feedStore(t)
	conn := session(t, dsn)
	const week, hour = 7 * 24 * time.Hour, time.Hour
	pruneTo := func(keep time.Duration) {
		t.Helper()
		if err := s.PruneChanges(t.Context(), keep); err != nil {
			t.Fatal(err)
		}
	}
	prune := func() { t.Helper(); pruneTo(week) }
	first := start(t, s, 0) // of an empty feed
	prune()
	run(t, conn, insertOld, "a/1", week+3*hour)
	a1 := start(t, s, 0)
	prune()
	for name, at := range map[string]changes.Cursor{"of the empty feed": first, "newest": a1} {
		if err := lost(t, s, at); err != nil {
			t.Errorf("nothing was removed, and the place %s is lost: %v", name, err)
		}
	}
	run(t, conn, insertOld, "a/2", week+2*hour)
	a2 := start(t, s, 0)
	run(t, conn, insertOld, "a/3", week-hour)
	prune() // a/1
	for name, at := range map[string]changes.Cursor{"of the empty feed": first, "before a/2": a1} {
		if err := lost(t, s, at); !errors.Is(err, secret.ErrPositionLost) || !strings.Contains(err.Error(), "removed") {
			t.Errorf("the place %s: %v", name, err)
		}
	}
	if paths, _ := readAll(t, s, a2); !slices.Equal(paths, []string{"a/3"}) {
		t.Errorf("from the newest old row on: %q", paths)
	}

	// A transaction that stays open holds on to its place, and is not passed over.
	holder := session(t, dsn)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run(t, holder, insertOld, "late/1", week+hour)
	run(t, conn, insertOld, "a/4", week+hour)
	run(t, conn, insertOld, "a/5", week+hour)
	late := start(t, s, 0)
	pruneTo(hour) // a/3 is none of the young ones
	if err := lost(t, s, late); err != nil {
		t.Errorf("the open transaction's place: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if paths, _ := readAll(t, s, late); !slices.Equal(paths, []string{"late/1"}) {
		t.Errorf("after the late commit: %q", paths)
	}
	pruneTo(hour) // late/1, which was never read from here
	if err := lost(t, s, late); !errors.Is(err, secret.ErrPositionLost) {
		t.Errorf("its row was removed: %v", err)
	}
	if paths, _ := readAll(t, s, start(t, s, 0)); len(paths) != 0 {
		t.Errorf("from the present place: %q", paths)
	}
}

// TestPlacesOfOtherDatabases: a copy of the rows is not the database they are of, and
// neither is one that lacks the newest.
func TestPlacesOfOtherDatabases(t *testing.T) {
	s, dsn := feedStore(t)
	conn := session(t, dsn)
	run(t, conn, insertChange, "a/1")
	run(t, conn, insertChange, "a/2")
	at := start(t, s, 0)
	if err := lost(t, s, at); err != nil {
		t.Fatal(err)
	}

	copied, copiedDSN := feedStore(t)
	other := session(t, copiedDSN)
	rows, err := conn.Query(t.Context(), `SELECT position, xid::text, written_at, path FROM changes`)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Position int64
		XID      string
		At       time.Time
		Path     string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		run(t, other, `INSERT INTO changes (position, xid, written_at, kind, path, version) OVERRIDING SYSTEM VALUE
			VALUES ($1, $2::text::xid8, $3, 'put', $4, 1)`, r.Position, r.XID, r.At, r.Path)
	}
	run(t, other, `INSERT INTO changes_removed (below) VALUES ('18446744073709551615')`) // of the other database, too
	if err := lost(t, copied, at); !errors.Is(err, secret.ErrPositionLost) {
		t.Errorf("in a copy: %v", err)
	}
	run(t, other, `SELECT setval(pg_get_serial_sequence('changes', 'position'), 100)`)
	there := start(t, copied, time.Minute)
	run(t, other, insertChange, "b/1")
	paths, there := readAll(t, copied, there)
	if !slices.Equal(paths, []string{"b/1"}) {
		t.Errorf("the copy's own: %q", paths)
	}
	if paths, _ := readAll(t, copied, there); len(paths) != 0 {
		t.Errorf("again: %q", paths)
	}
	if err := copied.PruneChanges(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := other.QueryRow(t.Context(), `SELECT count(*) FROM changes`).Scan(&left); err != nil || left != 1 {
		t.Errorf("%d rows are left, %v; want the newest alone", left, err)
	}
	run(t, other, insertChange, "b/2")
	if paths, _ := readAll(t, copied, there); !slices.Equal(paths, []string{"b/2"}) {
		t.Errorf("after the removal: %q", paths)
	}

	run(t, conn, `DELETE FROM changes WHERE path = 'a/2'`)
	if err := lost(t, s, at); !errors.Is(err, secret.ErrPositionLost) || !strings.Contains(err.Error(), "another one") {
		t.Errorf("without the newest row: %v", err)
	}
}

// TestStartLooksBack: what was written shortly before is due, whatever came between.
func TestStartLooksBack(t *testing.T) {
	s, dsn := feedStore(t)
	conn := session(t, dsn)
	run(t, conn, insertOld, "old/1", time.Hour)
	run(t, conn, insertOld, "new/1", 10*time.Second)
	run(t, conn, insertOld, "old/2", time.Hour)
	paths, _ := readAll(t, s, start(t, s, time.Minute))
	if !slices.Contains(paths, "new/1") || slices.Contains(paths, "old/1") {
		t.Errorf("a minute back: %q", paths)
	}
	if paths, _ := readAll(t, s, start(t, s, 0)); len(paths) != 0 {
		t.Errorf("from now on: %q", paths)
	}
	if paths, _ := readAll(t, s, start(t, s, 2*time.Hour)); len(paths) != 3 {
		t.Errorf("two hours back: %q", paths)
	}
}

// TestReadingIsCheapBehindAnOpenTransaction: what was delivered since it began is not
// read again.
func TestReadingIsCheapBehindAnOpenTransaction(t *testing.T) {
	s, dsn := feedStore(t)
	holder, conn := session(t, dsn), session(t, dsn)
	if _, err := holder.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, holder, insertChange, "held/one")
	run(t, conn, `DO $$ BEGIN FOR n IN 1..20000 LOOP
		INSERT INTO changes (kind, path, version) VALUES ('put', 'many/' || n, n); IF n % 4 = 0 THEN COMMIT; END IF; END LOOP; END $$`)
	run(t, conn, `ANALYZE changes`)
	at := start(t, s, 0)
	var firsts, lasts []string
	for _, span := range at.Due() {
		firsts, lasts = append(firsts, decimal(span.First)), append(lasts, decimal(span.Last))
	}
	rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, FORMAT TEXT) `+queryChanges,
		at.Witness().Position, decimal(at.Witness().XID), at.Witness().WrittenAt, firsts, lasts, changesBatch)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan on changes ") || strings.Contains(text, "Rows Removed by Filter: 1") || len(at.Due()) != 2 {
		t.Errorf("%v due; the plan reads much:\n%s", at.Due(), text)
	}
}
