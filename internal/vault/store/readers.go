package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReaderKey says who has read what.
type ReaderKey struct {
	Path, Cluster string
	// CallerKind and Caller are those of audit.Entry.
	CallerKind, Caller string
	Version            int64
}

// Reader is one row: who read which version of a path over the API.
type Reader struct {
	ReaderKey
	// Writer is that of the audit row of the read. There is a row for each.
	Writer    ID
	Namespace string
	ReadAt    time.Time
	// MAC covers all other fields.
	MAC []byte
}

const saveReaders = `INSERT INTO readers (path, cluster, caller_kind, caller, version, namespace, writer, read_at, mac)
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::uuid[], $8::timestamptz[], $9::bytea[])
	ON CONFLICT (path, cluster, caller_kind, caller, version, writer)
	DO UPDATE SET namespace = excluded.namespace, read_at = excluded.read_at, mac = excluded.mac`

// queueReaders writes rows, each in place of the one of its key and its writer, which
// belongs to one transaction at a time.
func queueReaders(batch *pgx.Batch, readers []Reader) {
	if len(readers) == 0 {
		return
	}
	batch.Queue(saveReaders,
		column(readers, func(r *Reader) string { return r.Path }),
		column(readers, func(r *Reader) string { return r.Cluster }),
		column(readers, func(r *Reader) string { return r.CallerKind }),
		column(readers, func(r *Reader) string { return r.Caller }),
		column(readers, func(r *Reader) int64 { return r.Version }),
		column(readers, func(r *Reader) string { return r.Namespace }),
		column(readers, func(r *Reader) ID { return r.Writer }),
		column(readers, func(r *Reader) time.Time { return r.ReadAt }),
		column(readers, func(r *Reader) []byte { return r.MAC }))
}

// Readers reads who read which version of path at since or later.
func (s *Store) Readers(ctx context.Context, path string, since time.Time) ([]Reader, error) {
	rows, err := s.pool.Query(ctx, `SELECT path, cluster, caller_kind, caller, version, namespace, writer, read_at, mac FROM readers
		WHERE path = $1 AND read_at >= $2`, path, since)
	if err != nil {
		return nil, translate("read the readers", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Reader, err error) {
		err = row.Scan(&r.Path, &r.Cluster, &r.CallerKind, &r.Caller, &r.Version, &r.Namespace, &r.Writer, &r.ReadAt, &r.MAC)
		return r, err
	})
	return found, translate("read the readers", err)
}

// PruneReaders removes the rows of reads before t.
func (s *Store) PruneReaders(ctx context.Context, t time.Time) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM readers WHERE read_at < $1`, t)
	return translate("prune the readers", err)
}
