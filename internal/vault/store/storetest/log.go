package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// changesAreVisibleWhenCommitted, and one that commits late is not behind the horizon of
// what was read before.
func (s *suite) changesAreVisibleWhenCommitted(t *testing.T) {
	late, early := mustPath(t, s.path()), mustPath(t, s.path())
	release := held(t, s.one, func(tx *store.Tx) error {
		tx.InsertChange(changes.Change{Kind: changes.Put, Path: late, Version: 1})
		return nil
	})
	must(t, s.two.InTx(t.Context(), func(tx *store.Tx) error {
		tx.InsertChange(changes.Change{Kind: changes.Rotate, Path: early, Version: 2})
		return tx.Flush(t.Context())
	}))
	about := func(rows []changes.Row) (found []changes.Row) {
		for _, r := range rows {
			if r.Path == late || r.Path == early {
				found = append(found, r)
			}
		}
		return found
	}
	from := s.cursor(t, time.Hour)
	first, err := s.two.ReadChanges(t.Context(), from)
	must(t, err)
	seen := about(first.Rows)
	if len(seen) != 1 || seen[0].Path != early || seen[0].Kind != changes.Rotate || seen[0].Version != 2 || seen[0].Foreign {
		t.Fatalf("before the late one commits: %+v", seen)
	}
	must(t, release(nil))
	next := from.Advance(first)
	rest, err := s.two.ReadChanges(t.Context(), next)
	must(t, err)
	if got := about(rest.Rows); len(got) != 1 || got[0].Path != late || got[0].Position >= seen[0].Position {
		t.Errorf("after it: %+v", got)
	}
	if rest.Now.Before(first.Now) || next.Lost(rest) != nil {
		t.Errorf("snapshot %+v after %+v, error %v", rest, first, next.Lost(rest))
	}
	must(t, s.one.PruneChanges(t.Context(), time.Hour))
	if again, err := s.two.ReadChanges(t.Context(), from); err != nil || len(about(again.Rows)) != 2 {
		t.Errorf("after pruning what is older: %+v, %v", about(again.Rows), err)
	}
}

// cursor is one that stands that far back.
func (s *suite) cursor(t *testing.T, back time.Duration) changes.Cursor {
	t.Helper()
	start, err := s.two.StartChanges(t.Context(), back)
	must(t, err)
	return changes.NewCursor(start)
}

func mustPath(t *testing.T, text string) secret.Path {
	t.Helper()
	p, err := secret.ParsePath(text)
	must(t, err)
	return p
}

// appendAudit writes rows with the ids behind head, and returns the new head.
func appendAudit(ctx context.Context, s *store.Store, head audit.Head, ids []int64) (audit.Head, error) {
	rows := make([]audit.Row, len(ids))
	for i, id := range ids {
		previous := head.MAC
		head.Seq++
		head.MAC = [audit.MACSize]byte{byte(head.Seq), byte(head.Seq >> 8), head.Writer[0]}
		mac := head.MAC
		rows[i] = audit.Row{Writer: head.Writer, Seq: head.Seq, Previous: previous[:], MAC: mac[:]}
		rows[i].Entry = audit.Entry{ID: id, At: created, Action: audit.Read, Caller: "user:ä", Path: "suite/audit", Decision: audit.Allowed, Rule: `"x\`}
	}
	return head, s.AppendAudit(ctx, rows, []byte("seal"))
}

// auditIsReadAsOfOneMoment: while it is written, the rows of each writer are 1 to the
// number of the head that comes with them.
func (s *suite) auditIsReadAsOfOneMoment(t *testing.T) {
	const rounds, batch = 20, 7
	heads := []audit.Head{{Writer: uuid.New()}, {Writer: uuid.New()}}
	wrote := make(chan error, len(heads))
	for i, one := range []*store.Store{s.one, s.two} {
		go func() {
			head := heads[i]
			for range rounds {
				ids, err := one.ReserveAuditIDs(context.Background(), batch)
				if err == nil {
					head, err = appendAudit(context.Background(), one, head, ids)
				}
				if err != nil {
					wrote <- err
					return
				}
			}
			wrote <- nil
		}()
	}
	for finished := 0; ; {
		last, rows := s.walkAudit(t)
		for _, head := range heads {
			if last[head.Writer] != rows[head.Writer] {
				t.Fatalf("%d rows of a writer whose head is %d", rows[head.Writer], last[head.Writer])
			}
		}
		if finished == len(heads) {
			if rows[heads[0].Writer] != rounds*batch || rows[heads[1].Writer] != rounds*batch {
				t.Errorf("rows %v", rows)
			}
			break
		}
		select {
		case err := <-wrote:
			must(t, err)
			finished++
		default:
		}
	}
	found, err := s.one.Audit(t.Context(), audit.Query{PathPrefix: "suite/audit", Caller: "user:ä", Limit: 3})
	if err != nil || len(found) != 3 || found[0].ID <= found[1].ID || !found[0].At.Equal(created) || found[0].Rule != `"x\` {
		t.Errorf("search: %+v, %v", found, err)
	}
}

// walkAudit is the number of each writer's head and how many rows it has.
func (s *suite) walkAudit(t *testing.T) (last, rows map[uuid.UUID]int64) {
	t.Helper()
	last, rows = map[uuid.UUID]int64{}, map[uuid.UUID]int64{}
	before := int64(-1)
	must(t, s.one.WalkAudit(t.Context(), func(*audit.Row) {}, func(r *audit.Row) error {
		rows[r.Writer]++
		if r.ID <= before || r.Seq != rows[r.Writer] || len(r.MAC) != audit.MACSize {
			t.Errorf("row %d of %s after row %d: it is the writer's %d", r.ID, r.Writer, before, rows[r.Writer])
		}
		before = r.ID
		return nil
	}, func(heads []audit.StoredHead) {
		for _, h := range heads {
			last[h.Writer] = h.Seq
			if string(h.Seal) != "seal" {
				t.Errorf("seal %q", h.Seal)
			}
		}
	}))
	return last, rows
}

// counter counts what is written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// snapshotIsOfOneMoment, however much is written while it is read.
func (s *suite) snapshotIsOfOneMoment(t *testing.T) {
	must(t, s.one.ReadSnapshot(t.Context(), func(snapshot *store.Snapshot) error {
		i := slices.IndexFunc(snapshot.Tables, func(table store.Table) bool { return table.Name == "secrets" })
		if i < 0 || snapshot.SchemaVersion == 0 {
			t.Fatalf("contents %+v", snapshot.Contents)
		}
		var sizes [2]counter
		before, err := snapshot.CopyOut(t.Context(), snapshot.Tables[i], &sizes[0])
		must(t, err)
		s.write(t, s.path())
		after, err := snapshot.CopyOut(t.Context(), snapshot.Tables[i], &sizes[1])
		must(t, err)
		if before == 0 || before != after || sizes[0] != sizes[1] {
			t.Errorf("%d rows of %d bytes, and then %d of %d", before, sizes[0], after, sizes[1])
		}
		return nil
	}))
}
