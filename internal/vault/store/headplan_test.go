package store

import (
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit"
)

// TestHeadsArePlannedOnce: planning the statement takes ten times as long as running it.
// Postgres plans a statement five times for its arguments, and goes on doing so when
// that seems cheaper than one plan for all.
func TestHeadsArePlannedOnce(t *testing.T) {
	s, err := Open(t.Context(), testkit.Postgres(t)+"&pool_max_conns=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		for _, n := range []int{1, 2, 20} {
			wanted := make([]Wanted, n)
			for i := range wanted {
				wanted[i] = Wanted{Cluster: "c", Path: strings.Repeat("a", i+1)}
			}
			heads, err := s.Heads(t.Context(), wanted...)
			if err != nil || len(heads) != n {
				t.Fatalf("%d heads of %d paths, error %v", len(heads), n, err)
			}
		}
	}
	var once, anew int
	if err := s.pool.QueryRow(t.Context(), `SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1`, queryHeads).
		Scan(&once, &anew); err != nil {
		t.Fatal(err)
	}
	if once != 25 || anew != 5 {
		t.Errorf("of 30 times the statement was planned %d times, want 5, and ran %d times without, want 25", anew, once)
	}
}
