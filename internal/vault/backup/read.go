package backup

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Verify reads a backup to its end and says what it holds. It needs no database.
//
// Errors: ErrIdentity, ErrDamaged.
func Verify(r io.Reader, identities ...age.Identity) (Report, error) {
	a, err := open(r, identities)
	if err != nil {
		return Report{}, err
	}
	return a.verify()
}

func (a *archive) verify() (Report, error) {
	return a.read(func(_ store.Table, content io.Reader) (int64, error) {
		_, err := io.Copy(io.Discard, content)
		return unknownRows, err
	})
}

// Restore verifies a whole backup, and then fills the empty database of s with it, in
// one transaction that commits only what is equal to it. The schema of an older backup
// is brought up to date.
//
// Errors: ErrIdentity, ErrDamaged, store.ErrNotEmpty, secret.ErrUnavailable.
func Restore(ctx context.Context, s *store.Store, file io.ReadSeeker, identities ...age.Identity) (Report, error) {
	if _, err := Verify(file, identities...); err != nil {
		return Report{}, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return Report{}, fmt.Errorf("read the backup again: %w", err)
	}
	a, err := open(file, identities)
	if err != nil {
		return Report{}, err
	}
	var report Report
	err = s.Restore(ctx, a.contents.Contents, func(filling *store.Filling) (err error) {
		report, err = a.read(func(table store.Table, content io.Reader) (int64, error) {
			return filling.CopyIn(ctx, table, content)
		})
		return err
	})
	return report, err
}

// archive is a backup being read.
type archive struct {
	tar      *tar.Reader
	next     *tar.Header // read, and not used yet
	contents Contents
}

func open(r io.Reader, identities []age.Identity) (*archive, error) {
	opened, err := age.Decrypt(r, identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, ErrIdentity
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return begin(opened)
}

// begin reads what stands at the beginning of an archive.
func begin(opened io.Reader) (*archive, error) {
	a := &archive{tar: tar.NewReader(opened)}
	if err := a.readJSON(contentsName, &a.contents); err != nil {
		return nil, err
	}
	if a.contents.Format != format {
		return nil, fmt.Errorf("the backup has format %d, and this program knows %d: use a newer one", a.contents.Format, format)
	}
	return a, nil
}

// unknownRows is the count of a reader that does not know rows.
const unknownRows = -1

// read gives each table to use, compares what was used with the summary, and looks
// for the end of the file.
func (a *archive) read(use func(store.Table, io.Reader) (rows int64, err error)) (Report, error) {
	report := Report{CreatedAt: a.contents.CreatedAt, SchemaVersion: a.contents.SchemaVersion}
	for _, table := range a.contents.Tables {
		sum := newDigest()
		rows, err := use(table, io.TeeReader(&tableReader{archive: a, table: table.Name}, sum))
		if err != nil {
			return Report{}, err
		}
		report.Tables = append(report.Tables, sum.summary(table.Name, rows))
	}
	var written []TableSummary
	if err := a.readJSON(summaryName, &written); err != nil {
		return Report{}, err
	}
	for i := range min(len(written), len(report.Tables)) {
		if report.Tables[i].Rows == unknownRows {
			report.Tables[i].Rows = written[i].Rows
		}
	}
	if !slices.Equal(written, report.Tables) {
		return Report{}, fmt.Errorf("%w: a table is not as its summary says", ErrDamaged)
	}
	if _, err := a.tar.Next(); !errors.Is(err, io.EOF) {
		return Report{}, fmt.Errorf("%w: it does not end after its summary", ErrDamaged)
	}
	return report, nil
}

// peek returns the next entry without using it up.
func (a *archive) peek() (*tar.Header, error) {
	if a.next == nil {
		header, err := a.tar.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, noEOF(err))
		}
		a.next = header
	}
	return a.next, nil
}

func (a *archive) readJSON(name string, to any) error {
	header, err := a.peek()
	if err != nil {
		return err
	}
	if header.Name != name || header.Size > maxJSON {
		return fmt.Errorf("%w: %s is not where it should be", ErrDamaged, name)
	}
	a.next = nil
	content, err := io.ReadAll(a.tar)
	if err == nil {
		err = json.Unmarshal(content, to)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	return nil
}

// tableReader reads the pieces of one table, one after the other.
type tableReader struct {
	archive *archive
	table   string
	n       int
	inside  bool
}

func (r *tableReader) Read(p []byte) (int, error) {
	for {
		if r.inside {
			n, err := r.archive.tar.Read(p)
			if errors.Is(err, io.EOF) {
				r.inside, err = false, nil
			}
			if err != nil {
				return n, fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		header, err := r.archive.peek()
		if err != nil {
			return 0, err
		}
		if header.Name != pieceName(r.table, r.n) {
			return 0, io.EOF
		}
		r.archive.next = nil
		r.n++
		r.inside = true
	}
}

// noEOF keeps an early end from looking like the end that a reader waits for.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
