package changes

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Row is a Change with the transaction that wrote it.
type Row struct {
	Change
	XID uint64
	// Foreign rows are not the engine's: their path is none. They are passed over,
	// and count as delivered.
	Foreign bool
}

// witness is the row as what tells that a database has the history that a cursor is
// from.
func (r Row) witness() Witness { return Witness{r.Position, r.XID, r.CommittedAt} }

// Witness identifies a row of the feed. The zero Witness is none.
type Witness struct {
	Position  int64
	XID       uint64
	WrittenAt time.Time
}

// IsZero reports whether w is no row.
func (w Witness) IsZero() bool { return w.Position == 0 }

// Span is all transaction ids from First to Last.
type Span struct{ First, Last uint64 }

// Start is the moment at which a new cursor stands.
type Start struct {
	// Newest is the row with the highest XID of those that count as delivered; zero
	// when there is none.
	Newest Witness
	// InProgress are the transactions that had not ended, ascending.
	InProgress []uint64
	// RemovedBelow is as in Snapshot.
	RemovedBelow uint64
}

// Snapshot is one read of the feed.
type Snapshot struct {
	// InProgress are the transactions that had not ended when the database read,
	// ascending.
	InProgress []uint64
	// Now is when the database read, by its own clock.
	Now time.Time
	// Rows are the visible rows that were due, by XID ascending; all of a transaction
	// or none.
	Rows []Row
	// Truncated says that rows with higher ids than those of Rows were left out.
	Truncated bool
	// Witnessed says that the cursor's witness is in the database.
	Witnessed bool
	// RemovedBelow is how far old rows were removed: all with a lower XID are gone. 0
	// when none were.
	RemovedBelow uint64
}

// Cursor is how far a follower has come: which transactions it needs no row of any
// more. It is a value, and does not change. See the package comment for its
// invariants.
type Cursor struct {
	// newest is the delivered row with the highest XID.
	newest Witness
	// next is the lowest transaction id above everything delivered.
	next uint64
	// open are ids below next whose rows are still due: their transactions had not
	// ended. Ascending, and none touches another.
	open []Span
	// tag is the follower's own.
	tag Tag
}

// Tag is what a follower keeps with its cursor.
type Tag [8]byte

// NewCursor returns a cursor that stands at s.
func NewCursor(s Start) Cursor {
	c := Cursor{newest: s.Newest, next: s.RemovedBelow}
	if !s.Newest.IsZero() {
		c.next = s.Newest.XID + 1
	}
	c.open = spansBelow(s.InProgress, c.next)
	return c
}

// Due are the transaction ids whose rows are still due, ascending; the last span has
// no end.
func (c Cursor) Due() []Span {
	return append(slices.Clone(c.open), Span{c.next, math.MaxUint64})
}

// Witness is the row that the database must still have for the cursor to mean
// anything there; zero when the cursor holds on to none.
func (c Cursor) Witness() Witness { return c.newest }

// Tag is what WithTag gave.
func (c Cursor) Tag() Tag { return c.tag }

// WithTag returns c with a tag of the follower's own.
func (c Cursor) WithTag(t Tag) Cursor {
	c.tag = t
	return c
}

// Lost reports, as secret.ErrPositionLost, that rows after c may be missing from what
// s was read from: they were removed, or the database is another one or an older
// state of it.
func (c Cursor) Lost(s Snapshot) error {
	witnessed := c.newest.IsZero() || s.Witnessed
	switch {
	case s.RemovedBelow > c.Due()[0].First, !witnessed && s.RemovedBelow >= c.next:
		return fmt.Errorf("%w: changes after it were removed, as they were too old", secret.ErrPositionLost)
	case !witnessed:
		return fmt.Errorf("%w: the database is another one, or an older state of it", secret.ErrPositionLost)
	}
	return nil
}

// Advance is the cursor after the rows of s, which were read by c, were delivered.
func (c Cursor) Advance(s Snapshot) Cursor {
	after := Cursor{newest: c.newest, next: c.next, tag: c.tag}
	var last uint64
	for _, row := range s.Rows {
		last = max(last, row.XID)
		if row.XID >= after.next {
			after.newest, after.next = row.witness(), row.XID+1
		}
	}
	after.open = spansBelow(s.InProgress, after.next)
	if s.Truncated { // what was due above the last row still is
		for _, span := range c.open {
			if span.Last > last {
				after.open = append(after.open, Span{max(span.First, last+1), span.Last})
			}
		}
		after.open = union(after.open)
	}
	return after
}

// Compare is negative when c is an earlier place in the feed than d, positive when it
// is a later one, and 0 when they are the same. Both must be of the same feed.
func (c Cursor) Compare(d Cursor) int {
	if order := cmp.Compare(c.next, d.next); order != 0 {
		return order
	}
	return cmp.Compare(size(d.open), size(c.open)) // the more is open, the earlier it is
}

// spansBelow are the ascending ids below next, as spans.
func spansBelow(ids []uint64, next uint64) []Span {
	var spans []Span
	for _, id := range ids {
		if id < next {
			spans = append(spans, Span{id, id})
		}
	}
	return union(spans)
}

// union sorts spans and joins those that overlap or touch.
func union(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.First, b.First) })
	joined := spans[:0]
	for _, span := range spans {
		if n := len(joined); n > 0 && span.First <= joined[n-1].Last+1 {
			joined[n-1].Last = max(joined[n-1].Last, span.Last)
			continue
		}
		joined = append(joined, span)
	}
	return joined
}

func size(spans []Span) (ids uint64) {
	for _, span := range spans {
		ids += span.Last - span.First + 1
	}
	return ids
}
