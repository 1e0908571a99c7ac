package changes

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Position is a Cursor as followers keep it: text of PositionLength bytes that says
// nothing to them. It is
//
//	c1.<base64url without padding of the sealed cursor>
//
// where 1 is the version of the format. All have one length, and two of the same
// cursor differ: what a position looks like tells nothing of what others do in the
// vault.
type Position string

const (
	// PositionLength is the length of every position in bytes.
	PositionLength = len(positionPrefix) + (sealedSize*4+2)/3

	positionPrefix = "c1."
	// sealOverhead is that of Sealer: XAES-256-GCM's salt, nonce and tag.
	sealOverhead = 12 + 12 + 16
	sealedSize   = cursorSize + sealOverhead
)

// A cursor as it is sealed has 120 bytes, numbers big endian:
//
//	 0        1        9                 17                   25      33        120
//	┌────────┬────────┬─────────────────┬────────────────────┬───────┬─────────┐
//	│ layout │ next   │ witness' number │ written at, µs UTC │ tag   │ open    │
//	│ 1 byte │ 8      │ 8, 0 for none   │ 8                  │ 8     │ 87      │
//	└────────┴────────┴─────────────────┴────────────────────┴───────┴─────────┘
//
// The witness' transaction id is next - 1. open are the spans downwards from next: for
// each the distance from the one above, at least 1, and how many ids it has beyond
// one, as uvarints; zeros fill the rest.
const (
	cursorSize   = 120
	cursorLayout = 1
	openAt       = 33
	// maxSpans is above what fits into open.
	maxSpans = (cursorSize - openAt) / 2
)

// Sealer encrypts and authenticates. tink.AEAD is one.
type Sealer interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)
}

// Positions turns cursors into positions and back, for one vault.
type Positions struct {
	// Sealer is under a key of the vault's own.
	Sealer Sealer
	// Vault is the vault's id.
	Vault [16]byte
}

// Seal returns the position of c.
func (p Positions) Seal(c Cursor) (Position, error) {
	sealed, err := p.Sealer.Encrypt(c.marshal(), p.binding())
	if err != nil {
		return "", fmt.Errorf("seal a position in the change feed: %w", err)
	}
	return Position(positionPrefix + base64.RawURLEncoding.EncodeToString(sealed)), nil
}

// Open returns the cursor of a position that Seal gave. Of any other text it returns
// secret.ErrPositionLost.
func (p Positions) Open(position Position) (Cursor, error) {
	text, ok := strings.CutPrefix(string(position), positionPrefix)
	if !ok || len(position) != PositionLength {
		return Cursor{}, fmt.Errorf("%w: it is none that this version of Coffer gives", secret.ErrPositionLost)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Cursor{}, fmt.Errorf("%w: it is none that this version of Coffer gives", secret.ErrPositionLost)
	}
	opened, err := p.Sealer.Decrypt(sealed, p.binding())
	if err != nil {
		return Cursor{}, fmt.Errorf("%w: it is of another vault, or was changed", secret.ErrPositionLost)
	}
	c, err := unmarshalCursor(opened)
	if err != nil {
		return Cursor{}, fmt.Errorf("%w: %w", secret.ErrPositionLost, err)
	}
	return c, nil
}

func (p Positions) binding() []byte { return append([]byte("coffer/position/1"), p.Vault[:]...) }

// marshal writes c as it is sealed. When more transactions are open than have room,
// neighbours are taken together with the ids between them, whose rows are then
// delivered a second time.
func (c Cursor) marshal() []byte {
	out := make([]byte, 0, cursorSize)
	out = append(out, cursorLayout)
	out = binary.BigEndian.AppendUint64(out, c.next)
	out = binary.BigEndian.AppendUint64(out, uint64(c.newest.Position))
	out = binary.BigEndian.AppendUint64(out, uint64(c.newest.WrittenAt.UnixMicro()))
	out = append(out, c.tag[:]...)
	for spans := min(len(c.open), maxSpans); ; spans-- {
		open := appendSpans(nil, c.next, coarsen(c.open, spans))
		if len(open) <= cursorSize-openAt {
			return append(out, append(open, make([]byte, cursorSize-openAt-len(open))...)...)
		}
	}
}

// appendSpans writes ascending spans downwards from next.
func appendSpans(out []byte, next uint64, spans []Span) []byte {
	for _, span := range slices.Backward(spans) {
		out = binary.AppendUvarint(out, next-span.Last)
		out = binary.AppendUvarint(out, span.Last-span.First)
		next = span.First
	}
	return out
}

// coarsen covers ascending spans by at most n: those nearest to each other are joined.
func coarsen(spans []Span, n int) []Span {
	if len(spans) <= n {
		return spans
	}
	// Spans stay apart after the n-1 that have the widest gaps behind them.
	ends := make([]int, len(spans)-1)
	for i := range ends {
		ends[i] = i
	}
	gap := func(i int) uint64 { return spans[i+1].First - spans[i].Last }
	slices.SortFunc(ends, func(a, b int) int { return cmp.Compare(gap(b), gap(a)) })
	ends = append(ends[:n-1], len(spans)-1)
	slices.Sort(ends)
	joined := make([]Span, 0, n)
	first := 0
	for _, end := range ends {
		joined = append(joined, Span{spans[first].First, spans[end].Last})
		first = end + 1
	}
	return joined
}

var errLayout = errors.New("it is of another version of Coffer")

// unmarshalCursor reads what marshal wrote.
func unmarshalCursor(b []byte) (Cursor, error) {
	if len(b) != cursorSize || b[0] != cursorLayout {
		return Cursor{}, errLayout
	}
	c := Cursor{next: binary.BigEndian.Uint64(b[1:]), tag: Tag(b[25:openAt])}
	position := int64(binary.BigEndian.Uint64(b[9:]))
	switch {
	case position < 0, position > 0 && c.next == 0:
		return Cursor{}, errLayout
	case position > 0:
		c.newest = Witness{position, c.next - 1, time.UnixMicro(int64(binary.BigEndian.Uint64(b[17:]))).UTC()}
	}
	var err error
	c.open, err = parseSpans(b[openAt:], c.next)
	return c, err
}

func parseSpans(b []byte, next uint64) ([]Span, error) {
	var spans []Span
	for {
		distance, n := binary.Uvarint(b)
		if n > 0 && distance == 0 || len(b) == 0 {
			break
		}
		beyond, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || distance > next || beyond > next-distance {
			return nil, errLayout
		}
		last := next - distance
		next = last - beyond
		spans = append(spans, Span{next, last})
		b = b[n+m:]
	}
	if len(bytes.TrimLeft(b, "\x00")) > 0 {
		return nil, errLayout
	}
	slices.Reverse(spans)
	return spans, nil
}
