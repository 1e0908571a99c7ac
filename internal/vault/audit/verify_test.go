package audit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// TestRowsThatAnAnchorKnew are missing when later rows of their writer are there, and truncated when none is, each once
// however many know them.
func TestRowsThatAnAnchorKnew(t *testing.T) {
	writer, other := uuid.UUID{1}, uuid.UUID{2}
	log := newBook()
	log.write(writer)
	log.write(writer)
	log.write(other, log.heads[writer])
	log.write(writer)
	log.write(writer)
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
			for i := range log.rows {
				if r := &log.rows[i]; r.Writer == other || !c.gone(r) {
					v.Row(r)
				}
			}
			v.Stored([]audit.StoredHead{
				{Head: log.heads[writer], Seal: chain.Seal(log.heads[writer]), Anchored: 2}, {Head: log.heads[other], Seal: chain.Seal(log.heads[other])},
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
