package vault_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// head is a row of audit_writers.
type head struct {
	writer         string
	last, anchored int64
	mac, seal      []byte
}

// storedHead is that of the longest lane.
func storedHead(t *testing.T, conn *pgx.Conn) (h head) {
	t.Helper()
	must(t, conn.QueryRow(t.Context(), `SELECT writer::text, seq, anchored, mac, seal FROM audit_writers ORDER BY seq DESC LIMIT 1`).
		Scan(&h.writer, &h.last, &h.anchored, &h.mac, &h.seal))
	return h
}

// TestOlderHeadOfAWriterPutBack cuts the last rows off a writer and puts back the row of audit_writers, which is genuine, from
// before they were written. The anchor of another process gives it away: for this heads are anchored across writers.
func TestOlderHeadOfAWriterPutBack(t *testing.T) {
	env := chained(t)
	conn := connect(t, env)
	older, l := storedHead(t, conn), longestLane(t, env)
	for l.last < older.last+2 {
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
		if l = longestLane(t, env); l.writer != older.writer { // an anchor had the lane, and another goes on
			older = storedHead(t, conn)
		}
	}
	env.CloseFirst() // it writes no more
	l = longestLane(t, env)
	replica := env.Open(t)
	eventually(t, "the anchor of the replica", func() bool {
		var anchored bool
		err := conn.QueryRow(t.Context(), `SELECT anchored = $2 FROM audit_writers WHERE writer = $1`, l.writer, l.last).Scan(&anchored)
		return err == nil && anchored
	})
	exec(t, env, `UPDATE audit_writers SET seq = $2, mac = $3, seal = $4, anchored = $5 WHERE writer = $1`, l.writer, older.last, older.mac, older.seal, older.anchored)
	exec(t, env, `DELETE FROM audit WHERE writer = $1 AND seq > $2`, l.writer, older.last)

	var got []audit.Finding // about this writer: one of the rows may have been an anchor of others
	for _, f := range verify(t, env, replica).Findings {
		if f.Writer == l.writer {
			got = append(got, f)
		}
	}
	cut := 0
	for _, f := range got {
		switch {
		case f.Kind == audit.Truncated && f.First == older.last+1 && f.Last == l.last && strings.HasPrefix(f.Detail, "an anchor of "):
			cut++
		case f.Kind == audit.HeadChanged && (f.First == older.last || f.First == older.anchored):
		default:
			t.Errorf("another finding: %+v", f)
		}
	}
	if cut != 1 || len(got) != 3 {
		t.Errorf("rows %d to %d of writer %s were cut off, and its stored head says %d of which %d are anchored; found: %+v",
			older.last+1, l.last, l.writer, older.last, older.anchored, got)
	}
}
