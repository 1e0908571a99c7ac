package audit

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// A Moment is the log as one snapshot of the database sees it: how many rows each
// writer has. Rows of a writer commit in their order, so the rows of a moment are those
// with a number up to the writer's, and everything else commits after it. Ids
// cannot say that: they are drawn before the commit, and a row with a smaller
// id may become visible later.
type Moment map[uuid.UUID]int64

// Position is how far an export has come. An export goes in runs. Each run is about one
// moment, and gives the rows of that moment that are not of the moment of the run before:
//
//   - A run reads ids upwards, from the highest id of the moment before to the highest
//     of its own. Whatever is visible later between the two is of a later moment.
//   - Rows of this moment with a smaller id were not visible before: they committed late.
//     How many there are is known, since a moment says how many rows each writer has. So
//     the run then reads ids downwards until it has found as many.
//
// So every row that ever commits is given once, whatever commits when, and
// neither a transaction that is held open nor a process that is stopped between
// drawing an id and using it hides a row. The zero Position is the beginning of the
// log. It only selects rows: who forges one skips rows for itself.
type Position struct {
	// Had is the moment of the run before, and HadID its highest id.
	Had   Moment
	HadID int64
	// Of is the moment of this run, nil between runs, and End its highest id.
	Of  Moment
	End int64
	// At is the highest id that was looked at upwards.
	At int64
	// Found counts the rows of Of and not of Had that were looked at.
	Found int64
	// Back is the lowest id that was looked at downwards; 0 before.
	Back int64
}

// Begin makes a run about the moment of, with ids up to end; from is the id after which a
// first run begins.
func (p *Position) Begin(of Moment, end, from int64) {
	p.Of, p.End, p.Found, p.Back = of, end, 0, 0
	p.At = p.HadID
	if p.Had == nil {
		p.At = from
	}
}

// Finish ends the run. What comes after goes on from here.
func (p *Position) Finish() {
	*p = Position{Had: p.Of, HadID: max(p.HadID, p.End)}
}

// Running reports whether a run is under way.
func (p *Position) Running() bool { return p.Of != nil }

// Upwards reports whether ids above At are still to be looked at.
func (p *Position) Upwards() bool { return p.At < p.End }

// Late is how many rows of this run are neither found yet nor above At. It is right when all
// ids up to End were looked at. A first run has none: it begins where it wants to.
func (p *Position) Late() int64 {
	if p.Had == nil {
		return 0
	}
	var all int64
	for writer, seq := range p.Of {
		all += max(0, seq-p.Had[writer])
	}
	return max(0, all-p.Found)
}

// Take reports whether r is one of this run's rows, and counts it. A row without a writer is of
// no moment; it is taken on the way up.
func (p *Position) Take(r *Row) bool {
	if r.Writer == uuid.Nil {
		return r.ID > p.HadID && p.Back == 0
	}
	if r.Seq <= p.Had[r.Writer] || r.Seq > p.Of[r.Writer] {
		return false
	}
	p.Found++
	return true
}

// positionFormat is the first byte of an encoded Position.
const positionFormat = 1

var errPosition = errors.New("it is not a position that an export gave")

// MarshalBinary implements encoding.BinaryMarshaler:
//
//	format(1) running(1) HadID End At Found Back writers {writer(16) had of}…
//
// with all numbers as varints, writers in their byte order, and had or of 0 for a writer
// that the moment does not have.
func (p *Position) MarshalBinary() ([]byte, error) {
	writers := map[uuid.UUID]bool{}
	for _, m := range []Moment{p.Had, p.Of} {
		for writer := range m {
			writers[writer] = true
		}
	}
	state := byte(0)
	if p.Had != nil {
		state |= 1
	}
	if p.Of != nil {
		state |= 2
	}
	b := []byte{positionFormat, state}
	for _, n := range []int64{p.HadID, p.End, p.At, p.Found, p.Back, int64(len(writers))} {
		b = binary.AppendVarint(b, n)
	}
	sorted := make([]uuid.UUID, 0, len(writers))
	for writer := range writers {
		sorted = append(sorted, writer)
	}
	slices.SortFunc(sorted, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	for _, writer := range sorted {
		b = append(b, writer[:]...)
		b = binary.AppendVarint(b, p.Had[writer])
		b = binary.AppendVarint(b, p.Of[writer])
	}
	return b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (p *Position) UnmarshalBinary(b []byte) error {
	if len(b) < 2 || b[0] != positionFormat || b[1] > 3 {
		return errPosition
	}
	state, r := b[1], reader{b: b[2:]}
	*p = Position{HadID: r.number(), End: r.number(), At: r.number(), Found: r.number(), Back: r.number()}
	if state&1 != 0 {
		p.Had = Moment{}
	}
	if state&2 != 0 {
		p.Of = Moment{}
	}
	for range r.number() {
		writer := r.writer()
		had, of := r.number(), r.number()
		if r.bad {
			break
		}
		if p.Had != nil && had > 0 {
			p.Had[writer] = had
		}
		if p.Of != nil && of > 0 {
			p.Of[writer] = of
		}
	}
	if r.bad || len(r.b) > 0 {
		return errPosition
	}
	return nil
}

// reader takes an encoded Position apart. It is bad once something was not there.
type reader struct {
	b   []byte
	bad bool
}

// number reads one that is not negative.
func (r *reader) number() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 || n < 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) writer() (writer uuid.UUID) {
	if len(r.b) < len(writer) {
		r.bad = true
		return writer
	}
	r.b = r.b[copy(writer[:], r.b):]
	return writer
}

// FormatPosition writes p and a seal over it for a client to carry.
func FormatPosition(p *Position, seal []byte) (string, error) {
	encoded, err := p.MarshalBinary()
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(encoded) + "." + base64.RawURLEncoding.EncodeToString(seal), nil
}

// ParsePosition reads what FormatPosition wrote. It does not check the seal.
func ParsePosition(s string) (p *Position, seal []byte, err error) {
	before, after, ok := strings.Cut(s, ".")
	if !ok {
		return nil, nil, errPosition
	}
	encoded, err := base64.RawURLEncoding.DecodeString(before)
	if err != nil {
		return nil, nil, errPosition
	}
	if seal, err = base64.RawURLEncoding.DecodeString(after); err != nil {
		return nil, nil, errPosition
	}
	p = &Position{}
	if err := p.UnmarshalBinary(encoded); err != nil {
		return nil, nil, fmt.Errorf("read a position: %w", err)
	}
	return p, seal, nil
}
