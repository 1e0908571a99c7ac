package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// fileVerifier follows the chains of an export by numbers and links. Rows of a writer may come in any order:
// one that committed late is exported late. The MACs are keyed, so that what they cover is not verified
// here; that each row names the MAC of the one before is.
type fileVerifier struct {
	report  sdk.AuditReport
	writers map[string]*fileWriter
	// twice counts rows that came before.
	twice int64
}

// fileWriter is a writer's rows, as stretches without a gap.
type fileWriter struct {
	stretches []*stretch
	// anchored is the last row that an anchor knows, and its MAC; where names the anchor.
	anchored      int64
	anchorMAC     string
	anchoredWhere string
}

// stretch is rows first to last, with the link into it and out of it.
type stretch struct {
	first, last   int64
	previous, mac string
	from, to      time.Time
}

// verifyFiles verifies exports, together: the next goes on where the one before ended.
func verifyFiles(files []string) (*fileVerifier, error) {
	v := &fileVerifier{writers: map[string]*fileWriter{}, report: sdk.AuditReport{Findings: []sdk.AuditFinding{}}}
	for _, file := range files {
		if err := v.file(file); err != nil {
			return nil, err
		}
	}
	v.end()
	return v, nil
}

func (v *fileVerifier) file(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read the export: %w", err)
	}
	defer func() { _ = f.Close() }()
	lines := json.NewDecoder(bufio.NewReader(f))
	for n := 1; ; n++ {
		var row sdk.AuditRow
		err := lines.Decode(&row)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the export: row %d of %s is not one of coffer audit export: %w", n, file, err)
		case row.ID == 0 || row.Action == "":
			return fmt.Errorf("read the export: row %d of %s is not one of coffer audit export: it has no id or no action", n, file)
		}
		v.row(&row)
	}
}

func (v *fileVerifier) row(r *sdk.AuditRow) {
	v.report.Rows++
	if v.report.From == nil || r.At.Before(*v.report.From) {
		v.report.From = &r.At
	}
	if v.report.To == nil || r.At.After(*v.report.To) {
		v.report.To = &r.At
	}
	if r.Writer == "" {
		v.report.Unchained++
		return
	}
	w := v.writer(r.Writer)
	if slices.ContainsFunc(w.stretches, func(s *stretch) bool { return s.first <= r.Seq && r.Seq <= s.last }) {
		v.twice++
		return
	}
	v.link(w, r)
	for line := range strings.Lines(r.Heads) {
		v.head(line, r)
	}
}

func (v *fileVerifier) writer(name string) *fileWriter {
	w := v.writers[name]
	if w == nil {
		w = &fileWriter{}
		v.writers[name] = w
	}
	return w
}

// link adds r to the stretch that it follows, to the one that it precedes, or to both.
func (v *fileVerifier) link(w *fileWriter, r *sdk.AuditRow) {
	if r.Seq == 1 && strings.Trim(r.Previous, "0") != "" {
		v.replaced(r.Writer, r.Seq, r.At, "it is the writer's first row and names one before")
	}
	at := slices.IndexFunc(w.stretches, func(s *stretch) bool { return s.last+1 == r.Seq })
	if at < 0 {
		w.stretches = append(w.stretches, &stretch{r.Seq, r.Seq, r.Previous, r.MAC, r.At, r.At})
		slices.SortFunc(w.stretches, func(a, b *stretch) int { return int(a.first - b.first) })
		at = slices.IndexFunc(w.stretches, func(s *stretch) bool { return s.last == r.Seq })
	} else {
		s := w.stretches[at]
		if s.mac != r.Previous {
			v.replaced(r.Writer, r.Seq, r.At, "it does not follow the row before it; one of the two was put in place of another")
		}
		s.last, s.mac, s.to = r.Seq, r.MAC, r.At
	}
	if at+1 == len(w.stretches) || w.stretches[at+1].first != r.Seq+1 {
		return
	}
	s, next := w.stretches[at], w.stretches[at+1]
	if next.previous != s.mac {
		v.replaced(r.Writer, next.first, next.from, "it does not follow the row before it; one of the two was put in place of another")
	}
	s.last, s.mac, s.to = next.last, next.mac, next.to
	w.stretches = slices.Delete(w.stretches, at+1, at+2)
}

func (v *fileVerifier) replaced(writer string, seq int64, at time.Time, detail string) {
	v.report.Findings = append(v.report.Findings, sdk.AuditFinding{
		Kind: "replaced", Writer: writer, First: seq, Last: seq, After: &at, Detail: detail,
	})
}

// head notes what a line "writer seq mac" of an anchor says.
func (v *fileVerifier) head(line string, anchor *sdk.AuditRow) {
	var writer, mac string
	var seq int64
	if _, err := fmt.Sscanf(line, "%s %d %s", &writer, &seq, &mac); err != nil {
		v.report.Findings = append(v.report.Findings, sdk.AuditFinding{
			Kind: "changed", Writer: anchor.Writer, First: anchor.Seq, Last: anchor.Seq, ID: anchor.ID, Action: anchor.Action, After: &anchor.At,
			Detail: "its heads are not lines of writer, number and MAC",
		})
		return
	}
	if w := v.writer(writer); seq > w.anchored {
		w.anchored, w.anchorMAC = seq, mac
		w.anchoredWhere = fmt.Sprintf("an anchor of %s (writer %s row %d)", stamp(anchor.At), anchor.Writer, anchor.Seq)
	}
}

// end reports the gaps, and what anchors know and the files do not have. Rows before a writer's first are not
// missing: an export may begin anywhere.
func (v *fileVerifier) end() {
	for _, name := range slices.Sorted(maps.Keys(v.writers)) {
		w := v.writers[name]
		if len(w.stretches) == 0 {
			continue // an export that goes on from another, or has filters, has anchors about others
		}
		v.report.Writers++
		for i, next := range w.stretches[1:] {
			before := w.stretches[i]
			v.report.Findings = append(v.report.Findings, sdk.AuditFinding{
				Kind: "missing", Writer: name, First: before.last + 1, Last: next.first - 1, After: &before.to, Before: &next.from,
				Detail: fmt.Sprintf("the next row of the writer is %d", next.first),
			})
		}
		last := w.stretches[len(w.stretches)-1]
		switch {
		case w.anchored > last.last:
			v.report.Findings = append(v.report.Findings, sdk.AuditFinding{
				Kind: "truncated", Writer: name, First: last.last + 1, Last: w.anchored, After: &last.to, Detail: w.anchoredWhere + " knows them",
			})
		case w.anchored == last.last && w.anchorMAC != last.mac:
			v.replaced(name, last.last, last.to, w.anchoredWhere+" knows another row")
		}
	}
}

// printFileVerification prints what was found, and what such a verification cannot tell.
func (s *session) printFileVerification(v *fileVerifier) error {
	if err := s.printVerification(v.report); err != nil {
		return err
	}
	if v.twice > 0 {
		_, _ = fmt.Fprintf(s.out, "%s came more than once and counted once.\n", count(v.twice, "row"))
	}
	_, err := fmt.Fprintln(s.out, "Numbers and links only: whether a field of a row was edited can be told with the vault's keys alone,\n"+
		"by coffer audit verify without --file.")
	return err
}
