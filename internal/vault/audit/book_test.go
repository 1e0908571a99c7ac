package audit_test

import (
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// chain has MACs without a key.
var chain = audit.Chain{MAC: func(purpose string, parts ...[]byte) [audit.MACSize]byte {
	h := sha256.New()
	h.Write([]byte(purpose))
	for _, part := range parts {
		h.Write([]byte{byte(len(part))})
		h.Write(part)
	}
	return [audit.MACSize]byte(h.Sum(nil))
}}

// book is a log as it is written: the n-th row has id n, and its time is n seconds.
type book struct {
	rows  []audit.Row
	heads map[uuid.UUID]audit.Head
}

func newBook() *book { return &book{heads: map[uuid.UUID]audit.Head{}} }

// write adds a row of a writer, which is an anchor when it holds heads.
func (b *book) write(writer uuid.UUID, anchored ...audit.Head) {
	b.add(writer, audit.Read, audit.FormatHeads(anchored))
}

func (b *book) add(writer uuid.UUID, action audit.Action, heads string) {
	id := int64(len(b.rows) + 1)
	row := audit.Row{Entry: audit.Entry{ID: id, At: time.Unix(id, 0), Action: action}, Heads: heads}
	head := b.heads[writer]
	head.Writer = writer
	chain.Link(head, &row)
	b.heads[writer] = row.Head()
	b.rows = append(b.rows, row)
}
