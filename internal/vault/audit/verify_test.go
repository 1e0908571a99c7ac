package audit_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// TestRowsThatAnAnchorKnew are missing when later rows of their writer are there, and truncated when none is, each once
// however many know them.
func TestRowsThatAnAnchorKnew(t *testing.T) {
	chain := audit.Chain{MAC: func(purpose string, parts ...[]byte) [audit.MACSize]byte {
		h := sha256.New()
		h.Write([]byte(purpose))
		for _, part := range parts {
			h.Write([]byte{byte(len(part))})
			h.Write(part)
		}
		return [audit.MACSize]byte(h.Sum(nil))
	}}
	writer, other := uuid.UUID{1}, uuid.UUID{2}
	var log []audit.Row
	heads := map[uuid.UUID]audit.Head{writer: {Writer: writer}, other: {Writer: other}}
	write := func(w uuid.UUID, anchored ...audit.Head) {
		row := audit.Row{Entry: audit.Entry{ID: int64(len(log) + 1), At: time.Unix(int64(len(log)), 0)}, Heads: audit.FormatHeads(anchored)}
		chain.Link(heads[w], &row)
		heads[w] = row.Head()
		log = append(log, row)
	}
	write(writer)
	write(writer)
	write(other, heads[writer])
	write(writer)
	write(writer)
	for name, c := range map[string]struct {
		gone func(*audit.Row) bool
		want []string
	}{
		"nothing":                {func(*audit.Row) bool { return false }, nil},
		"first":                  {func(r *audit.Row) bool { return r.Seq == 1 }, []string{"missing 1-1"}},
		"all that an anchor has": {func(r *audit.Row) bool { return r.Seq <= 2 }, []string{"missing 1-2"}},
		"the last that it has":   {func(r *audit.Row) bool { return r.Seq == 2 }, []string{"missing 2-2"}},
		"two parts":              {func(r *audit.Row) bool { return r.Seq != 3 }, []string{"missing 1-2", "truncated 4-4"}},
		"the end":                {func(r *audit.Row) bool { return r.Seq > 1 }, []string{"truncated 2-4"}},
		"all":                    {func(*audit.Row) bool { return true }, []string{"truncated 1-4"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := audit.NewVerifier(chain)
			for i := range log {
				if log[i].Writer == other || !c.gone(&log[i]) {
					v.Row(&log[i])
				}
			}
			v.Stored([]audit.StoredHead{
				{Head: heads[writer], Seal: chain.Seal(heads[writer]), Anchored: 2}, {Head: heads[other], Seal: chain.Seal(heads[other])},
			})
			var got []string
			for _, f := range v.Report().Findings {
				got = append(got, string(f.Kind)+" "+string(rune('0'+f.First))+"-"+string(rune('0'+f.Last)))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
