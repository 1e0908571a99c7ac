package audit

import (
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Purposes of the log's MACs. A purpose names the layout of its parts: when the
// layout changes the purpose changes too.
const (
	purposeRow  = "vault/audit-row/1"
	purposeHead = "vault/audit-head/1"
)

// MACSize is the size of a row's MAC, that of HMAC-SHA256.
const MACSize = 32

// Head is where a writer's chain ends: its last row. Seq is 0 before the first.
type Head struct {
	Writer uuid.UUID
	Seq    int64
	MAC    [MACSize]byte
}

// StoredHead is a row of the table of writers.
type StoredHead struct {
	Head
	Seal []byte
	// Anchored is the highest number that an anchor holds.
	Anchored int64
}

// Row is an entry as it is stored: the seq-th of its writer. A row without a writer
// is from before the log was chained.
type Row struct {
	Entry
	// Heads is what an anchor holds of other writers, as FormatHeads writes it.
	Heads  string
	Writer uuid.UUID
	Seq    int64
	// Previous is the MAC of the writer's row before, zero in the first row. MAC
	// covers all other fields. They are slices because the database may hold anything.
	Previous, MAC []byte
}

// Head is the head of the row's writer when the row is its last.
func (r *Row) Head() Head {
	h := Head{Writer: r.Writer, Seq: r.Seq}
	copy(h.MAC[:], r.MAC)
	return h
}

// Chain links and verifies the rows of one vault.
type Chain struct {
	// MAC is a Keyring's.
	MAC   func(purpose string, parts ...[]byte) [MACSize]byte
	Vault [16]byte
}

// Link makes r, whose entry is complete, the row after head.
func (c Chain) Link(head Head, r *Row) {
	r.Writer, r.Seq, r.Previous = head.Writer, head.Seq+1, head.MAC[:]
	mac := c.mac(r)
	r.MAC = mac[:]
}

// Verify reports whether the row is as some process of this vault wrote it. Whether
// it stands in its place is for Verifier.
func (c Chain) Verify(r *Row) bool {
	mac := c.mac(r)
	return hmac.Equal(mac[:], r.MAC)
}

func (c Chain) mac(r *Row) [MACSize]byte {
	e := &r.Entry
	return c.MAC(purposeRow, c.Vault[:], r.Writer[:], number(r.Seq), r.Previous,
		number(e.ID), number(e.At.UnixMicro()), []byte(e.Cluster), []byte(e.CallerKind), []byte(e.Caller),
		[]byte(e.Namespace), []byte(e.CallerUID), []byte(e.Environment), []byte(e.Action), []byte(e.Path),
		number(e.Version), []byte(e.Decision), []byte(e.Rule), []byte(e.Address), []byte(e.RequestID), []byte(r.Heads))
}

// Seal is the MAC of a stored head.
func (c Chain) Seal(h Head) []byte {
	mac := c.MAC(purposeHead, c.Vault[:], h.Writer[:], number(h.Seq), h.MAC[:])
	return mac[:]
}

// VerifySeal reports whether the stored head is as some process of this vault wrote
// it, now or earlier.
func (c Chain) VerifySeal(h StoredHead) bool { return hmac.Equal(h.Seal, c.Seal(h.Head)) }

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// FormatHeads writes heads as an anchor holds them: a line "writer seq mac" each, the
// mac in hex.
func FormatHeads(heads []Head) string {
	var b strings.Builder
	for _, h := range heads {
		fmt.Fprintf(&b, "%s %d %x\n", h.Writer, h.Seq, h.MAC)
	}
	return b.String()
}

// ParseHeads reads what FormatHeads wrote.
func ParseHeads(s string) ([]Head, error) {
	var heads []Head
	for line := range strings.Lines(s) {
		var writer, mac string
		var h Head
		if _, err := fmt.Sscanf(line, "%s %d %s\n", &writer, &h.Seq, &mac); err != nil {
			return nil, fmt.Errorf("read audit heads: a line is not like \"writer seq mac\": %w", err)
		}
		var err error
		if h.Writer, err = uuid.Parse(writer); err != nil {
			return nil, fmt.Errorf("read audit heads: %w", err)
		}
		decoded, err := hex.DecodeString(mac)
		if err != nil || len(decoded) != MACSize {
			return nil, fmt.Errorf("read audit heads: the MAC of writer %s is not %d bytes in hex", writer, MACSize)
		}
		copy(h.MAC[:], decoded)
		if h.Seq < 1 || FormatHeads([]Head{h}) != line {
			return nil, fmt.Errorf("read audit heads: the line of writer %s is not as it was written", writer)
		}
		heads = append(heads, h)
	}
	return heads, nil
}
