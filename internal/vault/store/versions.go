package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// InsertVersion writes a sealed version, or without WrappedKey and box a deletion.
// A number that was used before fails the transaction.
func (t *Tx) InsertVersion(v *Version, box []byte) {
	t.batch.Queue(`INSERT INTO secret_versions (secret_id, version, wrapped_key, box, created_at, created_by, mac, deletion)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		v.SecretID, v.Version, notNull(v.WrappedKey), notNull(box), v.CreatedAt, v.CreatedBy, v.MAC, v.Deletion)
}

// notNull is b; empty in place of nil, which is NULL in Postgres.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// UpdateVersion replaces the state of a version: its deletion, its destruction and its
// MAC. A destroyed version loses its wrapped key and its box.
func (t *Tx) UpdateVersion(v *Version) {
	t.batch.Queue(`UPDATE secret_versions SET deleted_at = $3, destroyed_at = $4, amended_revision = $5, mac = $6,
		wrapped_key = CASE WHEN $4::timestamptz IS NULL THEN wrapped_key ELSE '' END,
		box = CASE WHEN $4::timestamptz IS NULL THEN box ELSE '' END
		WHERE secret_id = $1 AND version = $2`,
		v.SecretID, v.Version, v.DeletedAt, v.DestroyedAt, v.AmendedRevision, v.MAC)
}

// InsertAmendment notes that the write of the head row with this revision changed the
// state of a version, or, with version 0, a label or the whole path.
func (t *Tx) InsertAmendment(secretID ID, version, revision int64) {
	t.batch.Queue(`INSERT INTO amendments (secret_id, version, revision) VALUES ($1, $2, $3)`, secretID, version, revision)
}

const queryVersions = `SELECT ` + versionColumns + ` FROM secret_versions v
	WHERE v.secret_id = $1 AND v.version BETWEEN $2 AND $3 ORDER BY v.version`

const queryNamedVersions = `SELECT ` + versionColumns + ` FROM secret_versions v
	WHERE v.secret_id = $1 AND v.version = ANY ($2) ORDER BY v.version`

// queryVersionsOf gives the revision also when there is no version.
const queryVersionsOf = `SELECT s.revision, ` + versionColumns + ` FROM secrets s
	LEFT JOIN secret_versions v ON v.secret_id = s.id AND v.version BETWEEN $2 AND $3
	WHERE s.id = $1 ORDER BY v.version`

// VersionsOf reads the versions of the present life of head that have a row, deletions
// too, in order. ok is false when the head row was written meanwhile: the versions may
// then be of another moment than head.
func (s *Store) VersionsOf(ctx context.Context, head *Secret) (versions []Version, ok bool, err error) {
	rows, err := s.pool.Query(ctx, queryVersionsOf, head.ID, head.FirstVersion, head.LastVersion)
	if err != nil {
		return nil, false, translate("read the versions", err)
	}
	var revision int64
	n := nullable{id: &head.ID}
	_, err = pgx.ForEachRow(rows, append([]any{&revision}, n.versionColumns()...), func() error {
		if v := n.versionRow(); v != nil {
			versions = append(versions, *v)
		}
		return nil
	})
	return versions, revision == head.Revision, translate("read the versions", err)
}

// Versions reads the versions from first to last that have a row, deletions too, in
// order.
func (t *Tx) Versions(ctx context.Context, secretID ID, first, last int64) ([]Version, error) {
	rows, err := t.tx.Query(ctx, queryVersions, secretID, first, last)
	return collectVersions(secretID, rows, err)
}

// NamedVersions reads those of the named versions that have a row, in order.
func (t *Tx) NamedVersions(ctx context.Context, secretID ID, versions []int64) ([]Version, error) {
	rows, err := t.tx.Query(ctx, queryNamedVersions, secretID, versions)
	return collectVersions(secretID, rows, err)
}

func collectVersions(secretID ID, rows pgx.Rows, err error) ([]Version, error) {
	if err != nil {
		return nil, translate("read the versions", err)
	}
	versions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Version, error) {
		n := nullable{id: &secretID}
		if err := row.Scan(n.versionColumns()...); err != nil {
			return Version{}, err
		}
		return *n.versionRow(), nil
	})
	return versions, translate("read the versions", err)
}
