package backup

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Write writes the database of s, as it is at one moment, to w, for the recipients.
// After an error what was written does not open.
func Write(ctx context.Context, s *store.Store, now time.Time, recipients []age.Recipient, w io.Writer) error {
	return s.ReadSnapshot(ctx, func(snapshot *store.Snapshot) error {
		sealed, err := age.Encrypt(w, recipients...)
		if err != nil {
			return fmt.Errorf("encrypt the backup: %w", err)
		}
		archive := tar.NewWriter(sealed)
		if err := writeSnapshot(ctx, snapshot, now, archive); err != nil {
			return err // without Close the file has no end, and does not open
		}
		if err := archive.Close(); err != nil {
			return fmt.Errorf("end the backup: %w", err)
		}
		if err := sealed.Close(); err != nil {
			return fmt.Errorf("end the backup: %w", err)
		}
		return nil
	})
}

func writeSnapshot(ctx context.Context, snapshot *store.Snapshot, now time.Time, archive *tar.Writer) error {
	if err := writeJSON(archive, contentsName, Contents{format, now.UTC(), snapshot.Contents}); err != nil {
		return fmt.Errorf("begin the backup: %w", err)
	}
	summaries := make([]TableSummary, 0, len(snapshot.Tables))
	for _, table := range snapshot.Tables {
		out := &pieces{archive: archive, table: table.Name, digest: newDigest()}
		rows, err := snapshot.CopyOut(ctx, table, out)
		if err != nil {
			return err
		}
		if err := out.flush(); err != nil {
			return fmt.Errorf("write the table %s: %w", table.Name, err)
		}
		summaries = append(summaries, out.digest.summary(table.Name, rows))
	}
	if err := writeJSON(archive, summaryName, summaries); err != nil {
		return fmt.Errorf("end the backup: %w", err)
	}
	return nil
}

// pieces cuts the stream of a table into entries of the archive.
type pieces struct {
	archive *tar.Writer
	table   string
	digest  *digest
	buffer  []byte
	n       int
}

func (p *pieces) Write(content []byte) (int, error) {
	_, _ = p.digest.Write(content)
	for rest := content; len(rest) > 0; {
		n := min(len(rest), pieceSize-len(p.buffer))
		p.buffer = append(p.buffer, rest[:n]...)
		rest = rest[n:]
		if len(p.buffer) == pieceSize {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(content), nil
}

func (p *pieces) flush() error {
	if len(p.buffer) == 0 {
		return nil
	}
	err := writeEntry(p.archive, pieceName(p.table, p.n), p.buffer)
	p.n++
	p.buffer = p.buffer[:0]
	return err
}
