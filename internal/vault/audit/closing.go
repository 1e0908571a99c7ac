package audit

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"
)

// Closing reads a part of the log that is to be dropped, and says what must be known of it
// afterwards. Unlike a Verifier it does not know the rest of the log.
type Closing struct {
	chain    Chain
	rows     int64
	spans    map[uuid.UUID][]closingSpan
	anchored map[uuid.UUID]Head
	carried  Dropped
	chained  int64
	wrong    string // what was found first
}

// closingSpan is a Span, with the ids of its first and last row.
type closingSpan struct {
	Span
	firstID, lastID int64
}

// Gap is rows of a writer that are not in the part though rows before and after them are: those
// with an id between After and Before. They must be in another part, or have been
// dropped before.
type Gap struct {
	Writer        uuid.UUID
	First, Last   int64
	After, Before int64
}

// NewClosing returns one that has seen nothing.
func NewClosing(c Chain) *Closing {
	return &Closing{chain: c, spans: map[uuid.UUID][]closingSpan{}, anchored: map[uuid.UUID]Head{}}
}

// Row takes the next row of the part, in the order of ids.
func (c *Closing) Row(r *Row) {
	c.rows++
	if r.Writer == uuid.Nil && r.Seq == 0 && len(r.MAC) == 0 {
		if c.chained != 0 {
			c.fail(r, "has no writer, though the chain had begun")
		}
		return
	}
	if !c.chain.Verify(r) {
		c.fail(r, "fails its integrity check")
		return
	}
	if c.chained == 0 {
		c.chained = r.ID
	}
	c.follow(r)
	if r.Heads != "" {
		c.keep(r)
	}
}

// follow adds the row to the spans of its writer.
func (c *Closing) follow(r *Row) {
	spans := c.spans[r.Writer]
	last := len(spans) - 1
	switch {
	case last >= 0 && r.Seq <= spans[last].Last:
		c.fail(r, fmt.Sprintf("stands behind row %d of its writer", spans[last].Last))
	case last >= 0 && r.Seq == spans[last].Last+1:
		if !bytes.Equal(r.Previous, spans[last].MAC[:]) {
			c.fail(r, "does not follow the row before it")
		}
		spans[last].Last, spans[last].MAC, spans[last].lastID = r.Seq, r.Head().MAC, r.ID
	default:
		span := Span{Writer: r.Writer, First: r.Seq, Last: r.Seq, MAC: r.Head().MAC}
		c.spans[r.Writer] = append(spans, closingSpan{span, r.ID, r.ID})
	}
}

// keep takes over what an anchor or a checkpoint of the part says.
func (c *Closing) keep(r *Row) {
	if r.Action == Checkpoint {
		said, err := ParseDropped(r.Heads)
		if err != nil {
			c.fail(r, "is a checkpoint that cannot be read")
		}
		c.carried = c.carried.Merge(said)
		return
	}
	heads, err := ParseHeads(r.Heads)
	if err != nil {
		c.fail(r, "is an anchor that cannot be read")
	}
	for _, h := range heads {
		c.anchor(h)
	}
}

func (c *Closing) anchor(h Head) {
	if h.Seq > c.anchored[h.Writer].Seq {
		c.anchored[h.Writer] = h
	}
}

func (c *Closing) fail(r *Row, what string) {
	if c.wrong == "" {
		c.wrong = fmt.Sprintf("row %d of writer %s, id %d, %s", r.Seq, r.Writer, r.ID, what)
	}
}

// Wrong says what is wrong with the rows; it is empty when nothing is.
func (c *Closing) Wrong() string { return c.wrong }

// Rows is how many there are.
func (c *Closing) Rows() int64 { return c.rows }

// Writers is how many writers they are of.
func (c *Closing) Writers() int { return len(c.spans) }

// Gaps are the rows that somebody has removed unless they are elsewhere. before is what earlier
// checkpoints say.
func (c *Closing) Gaps(before Dropped) (gaps []Gap) {
	known := indexOf(before)
	for writer, spans := range c.spans {
		for i := 1; i < len(spans); i++ {
			for _, left := range known.except(writer, spans[i-1].Last+1, spans[i].First-1) {
				gaps = append(gaps, Gap{writer, left[0], left[1], spans[i-1].lastID, spans[i].firstID})
			}
		}
	}
	return gaps
}

// Dropped is what must stand in the log when the rows are dropped.
func (c *Closing) Dropped() Dropped {
	made := Dropped{Chained: c.chained}
	for _, spans := range c.spans {
		for _, s := range spans {
			made.Spans = append(made.Spans, s.Span)
		}
	}
	for _, h := range c.carried.Anchored {
		c.anchor(h)
	}
	made = made.Merge(Dropped{Spans: c.carried.Spans, Chained: c.carried.Chained})
	known := indexOf(made)
	for _, h := range c.anchored {
		if h.Seq > known.last(h.Writer) {
			made.Anchored = append(made.Anchored, h)
		}
	}
	return made
}
