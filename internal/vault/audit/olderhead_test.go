package audit_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// TestOlderStoredHeadPutBack: somebody cut rows off a writer and put the head back that was stored before they were written. It
// is genuine, so only an anchor, which is a row of another writer, tells of the rows that it holds.
func TestOlderStoredHeadPutBack(t *testing.T) {
	keyless := audit.Chain{MAC: func(purpose string, parts ...[]byte) [audit.MACSize]byte {
		return sha256.Sum256(fmt.Appendf(nil, "%q %x", purpose, parts))
	}}
	cut, anchoring := uuid.UUID{1}, uuid.UUID{2}
	var log []audit.Row
	write := func(after audit.Head, anchored ...audit.Head) audit.Head {
		id := int64(len(log) + 1)
		row := audit.Row{Entry: audit.Entry{ID: id, At: time.Unix(id, 0)}, Heads: audit.FormatHeads(anchored)}
		keyless.Link(after, &row)
		log = append(log, row)
		return row.Head()
	}
	older := write(audit.Head{Writer: cut})
	second := write(older)
	third := write(second)
	anchor := write(audit.Head{Writer: anchoring}, third)
	write(third) // that no anchor holds yet
	for name, c := range map[string]struct {
		anchored bool
		want     []string
	}{
		"after an anchor": {true, []string{
			"head-changed 0-0: the stored head says that row 0 is anchored; the anchors say 3",
			"head-changed 1-1: the stored head is an old one: the writer has 3 rows",
			"truncated 2-3: an anchor of 1970-01-01T00:00:04Z (writer " + anchoring.String() + " row 1) knows them",
		}},
		"before one": {false, nil}, // as engine.md says: nothing is left that knows of them
	} {
		t.Run(name, func(t *testing.T) {
			v := audit.NewVerifier(keyless)
			stored := []audit.StoredHead{{Head: older, Seal: keyless.Seal(older)}}
			v.Row(&log[0])
			if c.anchored {
				v.Row(&log[3])
				stored = append(stored, audit.StoredHead{Head: anchor, Seal: keyless.Seal(anchor)})
			}
			v.Stored(stored)
			var got []string
			for _, f := range v.Report().Findings {
				if f.Writer != cut.String() {
					t.Errorf("a finding about another writer: %+v", f)
				}
				got = append(got, fmt.Sprintf("%s %d-%d: %s", f.Kind, f.First, f.Last, f.Detail))
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
