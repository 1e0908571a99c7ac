package audit

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Span is a run of a writer's rows: First to Last, without a gap. MAC is that of the row
// Last.
type Span struct {
	Writer      uuid.UUID
	First, Last int64
	MAC         [MACSize]byte
}

// Dropped is what a checkpoint says: what must be known of rows that were dropped because
// they were old. Rows of a writer are not always in the order of their times, so a writer
// may have several spans.
type Dropped struct {
	// Spans are the rows that are gone, also those that checkpoints knew that went with them. They are
	// sorted by writer and number.
	Spans []Span
	// Anchored are heads that dropped anchors held, of rows that were not dropped.
	Anchored []Head
	// Chained is the id of the first chained row that was dropped; 0 when none was.
	Chained int64
}

// Rows is how many chained rows were dropped.
func (d Dropped) Rows() (n int64) {
	for _, s := range d.Spans {
		n += s.Last - s.First + 1
	}
	return n
}

// Merge adds o to d.
func (d Dropped) Merge(o Dropped) Dropped {
	d.Spans = mergeSpans(append(slices.Clone(d.Spans), o.Spans...))
	d.Anchored = append(slices.Clone(d.Anchored), o.Anchored...)
	if d.Chained == 0 || o.Chained != 0 && o.Chained < d.Chained {
		d.Chained = o.Chained
	}
	return d
}

// mergeSpans sorts spans by writer and number, and joins those that follow each other.
func mergeSpans(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int {
		return cmp.Or(slices.Compare(a.Writer[:], b.Writer[:]), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	joined := spans[:0]
	for _, s := range spans {
		if end := len(joined) - 1; end >= 0 && joined[end].Writer == s.Writer && s.First-1 <= joined[end].Last { // Last+1 may be no number
			if s.Last >= joined[end].Last {
				joined[end].Last, joined[end].MAC = s.Last, s.MAC
			}
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// Format writes d as it stands in the row of a checkpoint: lines "dropped writer first last mac",
// "anchored writer seq mac" and "chained id", each mac in hex.
func (d Dropped) Format() string {
	var b strings.Builder
	for _, s := range d.Spans {
		fmt.Fprintf(&b, "dropped %s %d %d %x\n", s.Writer, s.First, s.Last, s.MAC)
	}
	for _, h := range d.Anchored {
		fmt.Fprintf(&b, "anchored %s", FormatHeads([]Head{h}))
	}
	if d.Chained != 0 {
		fmt.Fprintf(&b, "chained %d\n", d.Chained)
	}
	return b.String()
}

// ParseDropped reads what Format wrote.
func ParseDropped(s string) (Dropped, error) {
	var c Dropped
	for line := range strings.Lines(s) {
		kind, rest, _ := strings.Cut(line, " ")
		var err error
		switch kind {
		case "dropped":
			var span Span
			span, err = parseSpan(rest)
			c.Spans = append(c.Spans, span)
		case "anchored":
			var heads []Head
			heads, err = ParseHeads(rest)
			c.Anchored = append(c.Anchored, heads...)
		case "chained":
			if _, err = fmt.Sscanf(rest, "%d\n", &c.Chained); err == nil && c.Chained < 1 {
				err = errors.New("the chain began with an id that cannot be")
			}
		default:
			err = errors.New("a line begins with none of dropped, anchored and chained")
		}
		if err != nil {
			return Dropped{}, fmt.Errorf("read an audit checkpoint: %w", err)
		}
	}
	c.Spans = mergeSpans(c.Spans)
	return c, nil
}

// anchoredIn are the heads that a checkpoint has taken over.
func anchoredIn(s string) ([]Head, error) {
	said, err := ParseDropped(s)
	return said.Anchored, err
}

func parseSpan(line string) (Span, error) {
	var s Span
	var writer, mac string
	if _, err := fmt.Sscanf(line, "%s %d %d %s\n", &writer, &s.First, &s.Last, &mac); err != nil {
		return s, fmt.Errorf("a line is not like \"dropped writer first last mac\": %w", err)
	}
	var err error
	if s.Writer, err = uuid.Parse(writer); err != nil {
		return s, err
	}
	decoded, err := hex.DecodeString(mac)
	if err != nil || len(decoded) != MACSize || s.First < 1 || s.Last < s.First {
		return s, fmt.Errorf("the line of writer %s has numbers or a MAC that cannot be", s.Writer)
	}
	copy(s.MAC[:], decoded)
	return s, nil
}

// spanIndex holds the rows that checkpoints say were dropped, by writer.
type spanIndex map[uuid.UUID][]Span

func indexOf(d Dropped) spanIndex {
	index := spanIndex{}
	for _, s := range d.Spans {
		index[s.Writer] = append(index[s.Writer], s)
	}
	return index
}

// except returns the parts of the rows first to last that were not dropped.
func (i spanIndex) except(writer uuid.UUID, first, last int64) (left [][2]int64) {
	for _, s := range i[writer] {
		if s.Last < first || s.First > last {
			continue
		}
		if s.First > first {
			left = append(left, [2]int64{first, s.First - 1})
		}
		first = s.Last + 1
	}
	if first <= last {
		left = append(left, [2]int64{first, last})
	}
	return left
}

// end is the MAC of a row that was dropped, if it is known: that of the last of a span.
func (i spanIndex) end(writer uuid.UUID, seq int64) (mac [MACSize]byte, known bool) {
	for _, s := range i[writer] {
		if s.Last == seq {
			return s.MAC, true
		}
	}
	return mac, false
}

// last is the highest number of a writer that was dropped; 0 when none was.
func (i spanIndex) last(writer uuid.UUID) int64 {
	if spans := i[writer]; len(spans) > 0 {
		return spans[len(spans)-1].Last
	}
	return 0
}
