//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/sdk"
)

// rotationRow is what one rotation was like for the services.
type rotationRow struct {
	number  int
	version int64
	state   string
	logins  loginCounts
	// propagated is the time from the new version, or after a failure the former one again, being current until every consumer had
	// it; retired that until the other credential was refused.
	propagated, retired time.Duration
}

// rowOf makes a row of a run and what the services counted before and after it, each of which has logged in meanwhile.
func rowOf(t *testing.T, number int, run sdk.RotationRun, before, after map[string]loginCounts) rotationRow {
	t.Helper()
	row := rotationRow{number: number, version: run.To, state: run.State}
	for service, counts := range after {
		tried, failed := counts.Tried-before[service].Tried, counts.Failed-before[service].Failed
		if tried <= 0 {
			t.Errorf("rotation %d: the service %s tried no login", number, service)
		}
		row.logins.add(loginCounts{Tried: tried, Failed: failed})
	}
	at := map[string]time.Time{}
	for _, step := range run.Steps {
		if _, known := at[step.State]; !known {
			at[step.State] = step.At
		}
	}
	turned, settled := at["current"], at["retiring"]
	if run.State != "done" {
		turned, settled = at["withdrawing"], at["revoking"]
	}
	wait, err := time.ParseDuration(grace)
	must(t, err)
	// It leaves the state grace after the last consumer has moved.
	row.propagated, row.retired = settled.Sub(turned)-wait, run.EnteredAt.Sub(turned)
	return row
}

// rotationTable is for people.
func rotationTable(rows []rotationRow, total loginCounts) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ROTATION\tVERSION\tSTATE\tTRIED\tFAILED\tPROPAGATED\tRETIRED")
	for _, r := range rows {
		fmt.Fprintf(w, "%d\t%d\t%s\t%d\t%d\t%s\t%s\n", r.number, r.version, r.state, r.logins.Tried, r.logins.Failed,
			r.propagated.Round(100*time.Millisecond), r.retired.Round(100*time.Millisecond))
	}
	fmt.Fprintf(w, "all\t\t\t%d\t%d\t\t\n", total.Tried, total.Failed)
	_ = w.Flush()
	return text.String()
}

// rotationShape is the table with N for a number of logins and T for a time.
const rotationShape = `ROTATION VERSION STATE TRIED FAILED PROPAGATED RETIRED
1 2 done N 0 T T
2 3 done N 0 T T
3 4 rolledBack N 0 T T
4 5 done N 0 T T
5 6 done N 0 T T
all N 0
`

var (
	shownTime  = regexp.MustCompile(`\b(\d+m)?\d+(\.\d+)?s\b`)
	shownTries = regexp.MustCompile(`(?m)^(all|.* (?:done|rolledBack)) [1-9]\d* `)
	spaces     = regexp.MustCompile(` +`)
)

func wantShape(t *testing.T, table string) {
	t.Helper()
	shape := spaces.ReplaceAllString(table, " ")
	shape = strings.ReplaceAll(shape, " \n", "\n")
	shape = shownTries.ReplaceAllString(shownTime.ReplaceAllString(shape, "T"), "$1 N ")
	if diff := cmp.Diff(rotationShape, shape); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}
}
