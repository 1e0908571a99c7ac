package audit_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// hashed is a chain without a key.
func hashed() audit.Chain {
	return audit.Chain{MAC: func(purpose string, parts ...[]byte) [audit.MACSize]byte {
		h := sha256.New()
		h.Write([]byte(purpose))
		for _, part := range parts {
			h.Write([]byte{byte(len(part))})
			h.Write(part)
		}
		return [audit.MACSize]byte(h.Sum(nil))
	}}
}

// TestRowsThatAnAnchorKnew are missing when later rows of their writer are there, and truncated when none is, each once
// however many know them.
func TestRowsThatAnAnchorKnew(t *testing.T) {
	chain := hashed()
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
		"nothing":                  {func(*audit.Row) bool { return false }, nil},
		"first":                    {func(r *audit.Row) bool { return r.Seq == 1 }, []string{"missing 1-1"}},
		"all that an anchor has":   {func(r *audit.Row) bool { return r.Seq <= 2 }, []string{"missing 1-2"}},
		"the last that it has":     {func(r *audit.Row) bool { return r.Seq == 2 }, []string{"missing 2-2"}},
		"also one that it has not": {func(r *audit.Row) bool { return r.Seq <= 3 }, []string{"missing 1-2", "missing 3-3"}},
		"two parts":                {func(r *audit.Row) bool { return r.Seq != 3 }, []string{"missing 1-2", "truncated 4-4"}},
		"the end":                  {func(r *audit.Row) bool { return r.Seq > 1 }, []string{"truncated 2-4"}},
		"all":                      {func(*audit.Row) bool { return true }, []string{"truncated 1-4"}},
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
				if f.After != nil && f.After.Year() < 1970 || f.Kind == audit.Missing && f.Before == nil {
					t.Errorf("after a row of %v, before one of %v", f.After, f.Before)
				}
				got = append(got, string(f.Kind)+" "+string(rune('0'+f.First))+"-"+string(rune('0'+f.Last)))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAReportThatIsFullIsTheSameEachTime: of more findings than there is room for, the same are left out.
func TestAReportThatIsFullIsTheSameEachTime(t *testing.T) {
	const writers = audit.MaxFindings + 100
	chain := hashed()
	for name, stored := range map[string]bool{"all rows are gone": true, "all stored heads are gone": false} {
		t.Run(name, func(t *testing.T) {
			v := audit.NewVerifier(chain)
			var want []string
			var heads []audit.StoredHead
			for i := range writers {
				head := audit.Head{Writer: uuid.UUID{0: byte(i >> 8), 1: byte(i), 15: 1}}
				row := audit.Row{Entry: audit.Entry{ID: int64(i + 1)}}
				chain.Link(head, &row)
				if stored {
					heads = append(heads, audit.StoredHead{Head: row.Head(), Seal: chain.Seal(row.Head())})
				} else {
					v.Row(&row)
				}
				if i < audit.MaxFindings {
					want = append(want, head.Writer.String())
				}
			}
			v.Stored(heads)
			report := v.Report()
			var got []string
			for _, f := range report.Findings {
				got = append(got, f.Writer)
			}
			if diff := cmp.Diff(want, got); diff != "" || report.More != writers-audit.MaxFindings {
				t.Errorf("%d more; the writers (-want +got):\n%s", report.More, diff)
			}
		})
	}
}
