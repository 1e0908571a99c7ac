// Package backup writes a vault's database into one encrypted file, and restores it.
//
// The file is an age file for the recipients given, so it is never in the clear
// anywhere. Inside it is a tar archive:
//
//	contents.json     format, time, schema version, tables with their columns, sequences
//	TABLE/00000000 …  the table in Postgres's binary COPY format, in pieces of 1 MiB at most
//	summary.json      rows, bytes and SHA-256 of each table
//
// age authenticates every 64 KiB and the end, so a changed or shortened file does not
// open; the summary comes last and says that the archive was written to its end.
//
// What is inside is sealed as it is in the database: without the vault's root key even
// the owner of the age identity reads no value. Paths, policies and the audit log are
// in the clear there.
package backup

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// format is the version of the layout above.
	format = 1
	// pieceSize bounds the memory that writing takes: a tar entry needs its length
	// first, and a table's is known only at its end.
	pieceSize = 1 << 20
	// maxJSON bounds what is read of the two descriptions.
	maxJSON = 4 << 20

	contentsName = "contents.json"
	summaryName  = "summary.json"
)

// The errors of reading a backup.
var (
	// ErrIdentity: the file is for other recipients.
	ErrIdentity = errors.New("no identity given opens this backup: give the one that belongs to a recipient it was made for")
	// ErrDamaged: the file was changed, or is not whole, or is no backup.
	ErrDamaged = errors.New("the backup is damaged or not whole, and nothing of it can be restored: use another copy of it, or another backup")
)

// Contents is the first entry.
type Contents struct {
	Format    int       `json:"format"`
	CreatedAt time.Time `json:"createdAt"`
	store.Contents
}

// TableSummary says how a table was when it was written.
type TableSummary struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Report says what a backup holds.
type Report struct {
	CreatedAt     time.Time
	SchemaVersion int64
	Tables        []TableSummary
}

// digest counts and hashes what is written to it.
type digest struct {
	hash  hash.Hash
	bytes int64
}

func newDigest() *digest { return &digest{hash: sha256.New()} }

func (d *digest) Write(p []byte) (int, error) {
	d.bytes += int64(len(p))
	return d.hash.Write(p)
}

func (d *digest) summary(table string, rows int64) TableSummary {
	return TableSummary{Table: table, Rows: rows, Bytes: d.bytes, SHA256: hex.EncodeToString(d.hash.Sum(nil))}
}

func writeJSON(archive *tar.Writer, name string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return writeEntry(archive, name, content)
}

func writeEntry(archive *tar.Writer, name string, content []byte) error {
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

func pieceName(table string, n int) string { return fmt.Sprintf("%s/%08d", table, n) }
