package audit

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Kind is what is wrong with the log.
type Kind string

// The kinds of findings.
const (
	// Changed: a row is not as it was written, or was never written by this vault.
	Changed Kind = "changed"
	// Missing: rows between two others of their writer are not there.
	Missing Kind = "missing"
	// Truncated: rows at the end of a writer, or all of them, are not there. They are Missing once the writer writes again.
	Truncated Kind = "truncated"
	// Replaced: the row is one that this vault made, but not the one that belongs here.
	Replaced Kind = "replaced"
	// Misplaced: a row stands twice, or not in the order it was written in.
	Misplaced Kind = "misplaced"
	// Unchained: a row without a writer that is newer than the chain.
	Unchained Kind = "unchained"
	// HeadChanged: the stored head of a writer is not as it was written, or is gone.
	HeadChanged Kind = "head-changed"
)

// Finding is one thing that is wrong. Rows are named by writer and number; what the
// row itself says (ID, At, Action, Path) is given for a row that is there.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Writer string `json:"writer"`
	// First and Last are the rows' numbers, the same for one row.
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	// ID, Action and Path are those of the row; empty when it is not there.
	ID     int64  `json:"id,omitempty"`
	Action string `json:"action,omitempty"`
	Path   string `json:"path,omitempty"`
	// After and Before are when the rows around missing ones were written; for a row that is there both are its time.
	After  *time.Time `json:"after,omitempty"`
	Before *time.Time `json:"before,omitempty"`
	// Detail says how it was noticed.
	Detail string `json:"detail"`
}

// MaxFindings bounds a report: who rewrote a whole log shows in its beginning.
const MaxFindings = 1000

// Report is what a verification found.
type Report struct {
	// Rows were looked at, of Writers.
	Rows    int64 `json:"rows"`
	Writers int   `json:"writers"`
	// Unchained rows are from before the log was chained: nothing is known of them.
	Unchained int64 `json:"unchained"`
	// Dropped is how many rows, as checkpoints say, were dropped because they were old.
	Dropped int64 `json:"dropped"`
	// Erasable says that the database role of this server may change rows of the log, or
	// remove them.
	Erasable bool `json:"erasable"`
	// From and To are when the first and the last row were written.
	From *time.Time `json:"from,omitempty"`
	To   *time.Time `json:"to,omitempty"`
	// Exported says whether exported heads were compared.
	Exported bool      `json:"exported"`
	Findings []Finding `json:"findings"`
	// More findings than MaxFindings were left out.
	More int64 `json:"more,omitempty"`
}

// state is how far a writer's rows were followed.
type state struct {
	Head
	at       time.Time
	anchored int64
}

// Verifier follows the chains of all writers. It is given every row of one snapshot
// of the log, in the order of ids, and then what is known of heads.
type Verifier struct {
	chain   Chain
	report  Report
	writers map[uuid.UUID]*state
	chained int64 // the lowest id of a chained row; 0 before it
	dropped Dropped
	spans   spanIndex // of dropped
	// gone are rows that somebody knows and that are not there, by writer: missing when a later row of
	// the writer comes, and truncated when none does.
	gone map[uuid.UUID][]Finding
}

// NewVerifier returns one that has seen nothing.
func NewVerifier(c Chain) *Verifier {
	return &Verifier{chain: c, writers: map[uuid.UUID]*state{}, gone: map[uuid.UUID][]Finding{}, report: Report{Findings: []Finding{}}}
}

// Checkpoint takes a checkpoint of the snapshot, before the first row. One that is not genuine
// counts for nothing here; Row reports it.
func (v *Verifier) Checkpoint(r *Row) {
	if r.Action != Checkpoint || !v.chain.Verify(r) {
		return
	}
	if said, err := ParseDropped(r.Heads); err == nil {
		v.dropped = v.dropped.Merge(said)
		v.spans, v.chained, v.report.Dropped = indexOf(v.dropped), v.dropped.Chained, v.dropped.Rows()
	}
}

// Row checks the next row.
func (v *Verifier) Row(r *Row) {
	v.report.Rows++
	if v.report.From == nil || r.At.Before(*v.report.From) {
		v.report.From = &r.At
	}
	if v.report.To == nil || r.At.After(*v.report.To) {
		v.report.To = &r.At
	}
	if r.Writer == uuid.Nil && r.Seq == 0 && len(r.MAC) == 0 {
		v.unchained(r)
		return
	}
	if v.chained == 0 || r.ID < v.chained {
		v.chained = r.ID
	}
	genuine := v.chain.Verify(r)
	if !genuine {
		v.row(Changed, r, "the row fails its integrity check")
	}
	s := v.writers[r.Writer]
	if s == nil {
		if !genuine {
			s = &state{} // not taken for a writer: anything may stand in the column
		} else {
			s = &state{Head: Head{Writer: r.Writer}}
			v.writers[r.Writer] = s
		}
	}
	v.place(s, r, genuine)
	if genuine && r.Heads != "" {
		v.heads(r)
	}
}

// place follows the writer's chain from s to r.
func (v *Verifier) place(s *state, r *Row, genuine bool) {
	switch {
	case !genuine && r.Seq != s.Seq+1:
		return // its number tells nothing, and it was reported
	case r.Seq <= s.Seq:
		v.row(Misplaced, r, fmt.Sprintf("row %d of the writer came before it", s.Seq))
		return
	case r.Seq > s.Seq+1:
		for _, left := range v.spans.except(r.Writer, s.Seq+1, r.Seq-1) {
			f := Finding{
				Kind: Missing, Writer: r.Writer.String(), First: left[0], Last: left[1], Before: &r.At,
				Detail: fmt.Sprintf("row %d of the writer has id %d", r.Seq, r.ID),
			}
			if !s.at.IsZero() {
				f.After = new(s.at)
			}
			v.add(f)
		}
		if mac, known := v.spans.end(r.Writer, r.Seq-1); known && genuine && !bytes.Equal(r.Previous, mac[:]) {
			v.row(Replaced, r, "it does not follow the row that was dropped before it, as a checkpoint knows it")
		}
	case genuine && !bytes.Equal(r.Previous, s.MAC[:]):
		v.row(Replaced, r, "it does not follow the row that stands before it; one of the two was put in place of another")
	}
	v.missing(r)
	s.Head, s.at = r.Head(), r.At
}

// missing reports what is gone of the writer before r.
func (v *Verifier) missing(r *Row) {
	for _, f := range v.gone[r.Writer] {
		f.Kind, f.Before, f.Detail = Missing, &r.At, fmt.Sprintf("%s; row %d of the writer has id %d", f.Detail, r.Seq, r.ID)
		v.add(f)
	}
	delete(v.gone, r.Writer)
}

func (v *Verifier) unchained(r *Row) {
	if v.chained != 0 && r.ID > v.chained {
		v.row(Unchained, r, fmt.Sprintf("it has no writer, and the chain began with id %d", v.chained))
		return
	}
	v.report.Unchained++
}

// heads compares what an anchor says, or a checkpoint of the anchors it dropped, with the rows before it.
func (v *Verifier) heads(r *Row) {
	kind, read := "an anchor", ParseHeads
	if r.Action == Checkpoint {
		kind, read = "a checkpoint", anchoredIn
	}
	heads, err := read(r.Heads)
	if err != nil {
		v.row(Changed, r, err.Error())
		return
	}
	where := fmt.Sprintf("%s of %s (writer %s row %d)", kind, r.At.UTC().Format(time.RFC3339), r.Writer, r.Seq)
	for _, h := range heads {
		v.Expect(h, where)
		if s := v.writers[h.Writer]; s != nil {
			s.anchored = max(s.anchored, h.Seq)
		}
	}
}

// Expect checks that the writer's rows reach to h, which is known from where, or were
// dropped.
func (v *Verifier) Expect(h Head, where string) {
	s := v.writers[h.Writer]
	mac, known := v.spans.end(h.Writer, h.Seq)
	switch {
	case s != nil && s.Seq > h.Seq:
		return
	case s != nil && s.Seq == h.Seq:
		mac, known = s.MAC, true
	default:
		reached := int64(0)
		if s != nil {
			reached = s.Seq
		}
		if left := v.spans.except(h.Writer, reached+1, h.Seq); len(left) > 0 {
			v.truncated(s, h, left, where)
		}
	}
	if known && mac != h.MAC {
		v.add(Finding{Kind: Replaced, Writer: h.Writer.String(), First: h.Seq, Last: h.Seq, Detail: where + " knows another row"})
	}
	if s != nil {
		s.Head = h // so that it is reported once
	}
}

// truncated notes rows of the writer of h that are left over when those that were dropped are taken
// away.
func (v *Verifier) truncated(s *state, h Head, left [][2]int64, where string) {
	if s == nil {
		v.writers[h.Writer] = &state{Head: h}
	}
	gone := v.gone[h.Writer]
	for _, l := range left {
		f := Finding{Kind: Truncated, Writer: h.Writer.String(), First: l[0], Last: l[1], Detail: where + " knows them"}
		if s != nil && !s.at.IsZero() {
			f.After = new(s.at)
		}
		if end := len(gone) - 1; end >= 0 && gone[end].Last+1 == f.First { // an earlier anchor knew those before
			f.First = gone[end].First
			gone = gone[:end]
		}
		gone = append(gone, f)
	}
	v.gone[h.Writer] = gone
}

// Stored compares the table of writers, of the same snapshot.
func (v *Verifier) Stored(heads []StoredHead) {
	stored := map[uuid.UUID]bool{}
	for _, h := range heads {
		stored[h.Writer] = true
		if !v.chain.VerifySeal(h) {
			v.add(Finding{Kind: HeadChanged, Writer: h.Writer.String(), First: h.Seq, Last: h.Seq, Detail: "the stored head of the writer fails its integrity check"})
			continue
		}
		s := v.writers[h.Writer]
		seen := s != nil
		v.Expect(h.Head, "the table of writers")
		if !seen {
			continue
		}
		if s.Seq > h.Seq {
			v.add(Finding{Kind: HeadChanged, Writer: h.Writer.String(), First: h.Seq, Last: h.Seq, Detail: fmt.Sprintf("the stored head is an old one: the writer has %d rows", s.Seq)})
		}
		// Anchors may have been dropped with the rows that they hold.
		if s.anchored != h.Anchored && (h.Anchored < s.anchored || h.Anchored > v.spans.last(h.Writer)) {
			v.add(Finding{Kind: HeadChanged, Writer: h.Writer.String(), First: h.Anchored, Last: h.Anchored, Detail: fmt.Sprintf("the stored head says that row %d is anchored; the anchors say %d", h.Anchored, s.anchored)})
		}
	}
	for _, writer := range sorted(v.writers) {
		if s := v.writers[writer]; !stored[writer] {
			v.add(Finding{Kind: HeadChanged, Writer: writer.String(), First: s.Seq, Last: s.Seq, Detail: "the stored head of the writer is gone"})
		}
	}
}

// Exported compares heads that were kept outside of the database.
func (v *Verifier) Exported(heads []Head) {
	v.report.Exported = true
	for _, h := range heads {
		v.Expect(h, "the exported heads")
	}
}

// Report is what was found, by writer.
func (v *Verifier) Report() Report {
	v.report.Writers = len(v.writers)
	for _, writer := range sorted(v.gone) {
		for _, f := range v.gone[writer] {
			if f.After == nil {
				f.Detail = "no row of the writer is there; " + f.Detail
			}
			v.add(f)
		}
	}
	clear(v.gone)
	slices.SortStableFunc(v.report.Findings, func(a, b Finding) int {
		if a.Writer != b.Writer {
			return bytes.Compare([]byte(a.Writer), []byte(b.Writer))
		}
		return int(a.First - b.First)
	})
	return v.report
}

// sorted are the writers in the order of a report: when there are too many findings, two reports leave out the same.
func sorted[T any](writers map[uuid.UUID]T) []uuid.UUID {
	return slices.SortedFunc(maps.Keys(writers), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
}

// Rows is how many were checked so far.
func (v *Verifier) Rows() int64 { return v.report.Rows }

func (v *Verifier) row(kind Kind, r *Row, detail string) {
	v.add(Finding{
		Kind: kind, Writer: r.Writer.String(), First: r.Seq, Last: r.Seq, ID: r.ID, Action: string(r.Action), Path: r.Path,
		After: &r.At, Before: &r.At, Detail: detail,
	})
}

func (v *Verifier) add(f Finding) {
	if len(v.report.Findings) == MaxFindings {
		v.report.More++
		return
	}
	v.report.Findings = append(v.report.Findings, f)
}
