package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Secret is the head row of a path. MAC covers all other fields but Newest and
// NewestAmendment.
type Secret struct {
	ID   ID
	Path string
	// CurrentVersion is the one that a read without a version gets.
	CurrentVersion int64
	// FirstVersion is the oldest that can be read: a path that was deleted and
	// written again does not show the versions of its former life.
	FirstVersion int64
	// LastVersion is the highest number ever given out, to a version or a deletion.
	LastVersion int64
	// PreviousVersion was current before, and PendingVersion waits to be; 0 is none.
	PreviousVersion, PendingVersion int64
	// MaxVersions is how many versions are kept; 0 is all.
	MaxVersions int
	// Revision counts the writes of this row, from 1.
	Revision            int64
	Description         string
	Tags                map[string]string
	RotateAfterDays     int
	AllowedServices     []string
	AllowedEnvironments []string
	DeletedAt           *time.Time
	// DestroyedAt is set on a deleted path whose versions are all destroyed.
	DestroyedAt *time.Time
	// AmendedRevision is that of the last write of this row that left an amendment.
	AmendedRevision int64
	MAC             []byte
	// Newest is the highest version that has a row in secret_versions. It is
	// LastVersion, unless somebody put an older head row back.
	Newest int64
	// NewestAmendment is the highest revision that has a row in amendments. It is
	// AmendedRevision, unless somebody put an older head row back.
	NewestAmendment int64
}

// Version is one sealed version. MAC covers all other fields but WrappedKey and
// NewestAmendment.
type Version struct {
	SecretID   ID
	Version    int64
	WrappedKey []byte
	CreatedAt  time.Time
	CreatedBy  string
	// Deletion marks a number that a deletion of the path took: there is no value.
	Deletion bool
	// DeletedAt is set while the version is deleted, and DestroyedAt once its box and
	// its wrapped key are gone.
	DeletedAt, DestroyedAt *time.Time
	// AmendedRevision is that of the head row at the last change of the version's
	// state; 0 when there was none.
	AmendedRevision int64
	MAC             []byte
	// NewestAmendment is the highest revision of an amendment of this version. It is
	// AmendedRevision, unless somebody put an older row back.
	NewestAmendment int64
}

// PolicySetHead says which policy set of a cluster is current.
type PolicySetHead struct {
	Revision int64
	MAC      []byte
}

// Head is what decides about one path, as of one moment.
type Head struct {
	// Policies is nil when the cluster's policies were never synced.
	Policies *PolicySetHead
	// Secret is nil when no row has the path.
	Secret *Secret
	// Version is the version asked for, or the current one; nil when there is none.
	Version *Version
}

const headColumns = `s.id, s.path, s.current_version, s.first_version, s.last_version, s.revision, s.description,
	s.tags, s.rotate_after_days, s.allowed_services, s.allowed_environments, s.deleted_at, s.mac,
	s.previous_version, s.pending_version, s.max_versions, s.amended_revision, s.destroyed_at`

// What tells a head row from an older one put back.
const newestColumns = `(SELECT coalesce(max(n.version), 0) FROM secret_versions n WHERE n.secret_id = s.id),
	(SELECT coalesce(max(a.revision), 0) FROM amendments a WHERE a.secret_id = s.id)`

const secretColumns = headColumns + `, ` + newestColumns

const versionColumns = `v.version, v.wrapped_key, v.created_at, v.created_by, v.mac,
	v.deletion, v.deleted_at, v.destroyed_at, v.amended_revision,
	(SELECT coalesce(max(a.revision), 0) FROM amendments a WHERE a.secret_id = v.secret_id AND a.version = v.version)`

// One row for each path asked for, in order, whatever exists. Each part is found by its
// own index, once for each row: LIMIT 1 leaves the planner no other way, and
// generate_subscripts, whose rows it does not know, no reason to plan anew for each
// number of paths. With unnest it did, and planning cost ten times what reading does.
const queryHeads = `SELECT p.revision, p.mac, ` + secretColumns + `, ` + versionColumns + `
	FROM (SELECT n, ($1::text[])[n] AS cluster, ($2::text[])[n] AS path, ($3::bigint[])[n] AS version
		FROM generate_subscripts($1::text[], 1) n) want
	LEFT JOIN LATERAL (SELECT * FROM policy_sets p WHERE p.cluster = want.cluster LIMIT 1) p ON true
	LEFT JOIN LATERAL (SELECT * FROM secrets s WHERE s.path = want.path COLLATE "C" LIMIT 1) s ON true
	LEFT JOIN LATERAL (SELECT * FROM secret_versions v WHERE v.secret_id = s.id
		AND v.version = CASE want.version WHEN 0 THEN s.current_version WHEN -1 THEN s.previous_version
			WHEN -2 THEN s.pending_version ELSE want.version END LIMIT 1) v ON true
	ORDER BY want.n`

// Versions that a label names, for Wanted.
const (
	Current  int64 = 0
	Previous int64 = -1
	Pending  int64 = -2
)

// Wanted names a path, a version of it, a number or Current, Previous or Pending, and
// the cluster whose policies decide about it.
type Wanted struct {
	Cluster string
	Path    string
	Version int64
}

// Heads reads, in one statement, the heads of the wanted paths, in their order, each with
// the policy set of its cluster.
func (s *Store) Heads(ctx context.Context, wanted ...Wanted) ([]Head, error) {
	clusters, paths, versions := make([]string, len(wanted)), make([]string, len(wanted)), make([]int64, len(wanted))
	for i, w := range wanted {
		clusters[i], paths[i], versions[i] = w.Cluster, w.Path, w.Version
	}
	rows, err := s.pool.Query(ctx, queryHeads, clusters, paths, versions)
	if err != nil {
		return nil, translate("read the path", err)
	}
	heads, err := pgx.CollectRows(rows, scanHead)
	return heads, translate("read the path", err)
}

// nullable holds the columns of an outer join.
type nullable struct {
	policyRevision *int64
	policyMAC      []byte

	id                             *ID
	path                           *string
	current, first, last, revision *int64
	description                    *string
	tags                           map[string]string
	rotateAfterDays                *int
	services, environments         []string
	deletedAt                      *time.Time
	mac                            []byte
	previous, pending              *int64
	maxVersions                    *int
	amended                        *int64
	destroyedAt                    *time.Time
	newest, newestAmendment        *int64

	version                *int64
	wrappedKey             []byte
	createdAt              *time.Time
	createdBy              *string
	versionMAC             []byte
	deletion               *bool
	versionDeletedAt       *time.Time
	versionDestroyedAt     *time.Time
	versionAmended         *int64
	versionNewestAmendment *int64
}

func (n *nullable) policyColumns() []any { return []any{&n.policyRevision, &n.policyMAC} }

func (n *nullable) headColumns() []any {
	return []any{
		&n.id, &n.path, &n.current, &n.first, &n.last, &n.revision, &n.description,
		&n.tags, &n.rotateAfterDays, &n.services, &n.environments, &n.deletedAt, &n.mac,
		&n.previous, &n.pending, &n.maxVersions, &n.amended, &n.destroyedAt,
	}
}

func (n *nullable) secretColumns() []any {
	return append(n.headColumns(), &n.newest, &n.newestAmendment)
}

func (n *nullable) versionColumns() []any {
	return []any{
		&n.version, &n.wrappedKey, &n.createdAt, &n.createdBy, &n.versionMAC,
		&n.deletion, &n.versionDeletedAt, &n.versionDestroyedAt, &n.versionAmended, &n.versionNewestAmendment,
	}
}

func (n *nullable) secret() *Secret {
	if n.id == nil {
		return nil
	}
	return &Secret{
		ID: *n.id, Path: *n.path, CurrentVersion: *n.current, FirstVersion: *n.first, LastVersion: *n.last,
		Revision: *n.revision, Description: *n.description, Tags: n.tags, RotateAfterDays: *n.rotateAfterDays,
		AllowedServices: n.services, AllowedEnvironments: n.environments, DeletedAt: n.deletedAt, MAC: n.mac,
		PreviousVersion: *n.previous, PendingVersion: *n.pending, MaxVersions: *n.maxVersions,
		AmendedRevision: *n.amended, DestroyedAt: n.destroyedAt, Newest: *n.newest, NewestAmendment: *n.newestAmendment,
	}
}

func (n *nullable) versionRow() *Version {
	if n.version == nil {
		return nil
	}
	return &Version{
		SecretID: *n.id, Version: *n.version, WrappedKey: n.wrappedKey, CreatedAt: *n.createdAt,
		CreatedBy: *n.createdBy, MAC: n.versionMAC, Deletion: *n.deletion, DeletedAt: n.versionDeletedAt,
		DestroyedAt: n.versionDestroyedAt, AmendedRevision: *n.versionAmended, NewestAmendment: *n.versionNewestAmendment,
	}
}

func scanHead(row pgx.CollectableRow) (Head, error) {
	var n nullable
	columns := append(n.policyColumns(), n.secretColumns()...)
	if err := row.Scan(append(columns, n.versionColumns()...)...); err != nil {
		return Head{}, err
	}
	return n.head(), nil
}

func (n *nullable) head() Head {
	head := Head{Secret: n.secret(), Version: n.versionRow()}
	if n.policyRevision != nil {
		head.Policies = &PolicySetHead{Revision: *n.policyRevision, MAC: n.policyMAC}
	}
	return head
}

// BoxOf names the sealed bytes of a version.
type BoxOf struct {
	SecretID ID
	Version  int64
}

// As queryHeads, a lookup of its own for each.
const queryBoxes = `SELECT v.box
	FROM (SELECT n, ($1::uuid[])[n] AS id, ($2::bigint[])[n] AS version FROM generate_subscripts($2::bigint[], 1) n) want
	LEFT JOIN LATERAL (SELECT box FROM secret_versions v WHERE v.secret_id = want.id AND v.version = want.version LIMIT 1) v ON true
	ORDER BY want.n`

// Boxes reads the sealed bytes of versions, in their order; nil of one that has no row.
func (s *Store) Boxes(ctx context.Context, wanted ...BoxOf) ([][]byte, error) {
	ids, versions := make([]ID, len(wanted)), make([]int64, len(wanted))
	for i, w := range wanted {
		ids[i], versions[i] = w.SecretID, w.Version
	}
	rows, err := s.pool.Query(ctx, queryBoxes, ids, versions)
	if err != nil {
		return nil, translate("read the versions", err)
	}
	boxes, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	return boxes, translate("read the versions", err)
}

// Box reads the sealed bytes of a version; nil when it has no row.
func (t *Tx) Box(ctx context.Context, secretID ID, version int64) ([]byte, error) {
	return bytesOf(ctx, t.tx, `SELECT box FROM secret_versions WHERE secret_id = $1 AND version = $2`, secretID, version)
}

// WrappedKeyOf reads the wrapped data key of a version; nil when it has no row.
func (s *Store) WrappedKeyOf(ctx context.Context, secretID ID, version int64) ([]byte, error) {
	return bytesOf(ctx, s.pool, `SELECT wrapped_key FROM secret_versions WHERE secret_id = $1 AND version = $2`, secretID, version)
}

func bytesOf(ctx context.Context, q querier, query string, secretID ID, version int64) ([]byte, error) {
	var found []byte
	err := q.QueryRow(ctx, query, secretID, version).Scan(&found)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return found, translate("read the version", err)
}

// Item is one live path of a list with its current version; Version is nil only
// when its row is missing.
type Item struct {
	Secret  Secret
	Version *Version
}

// Filter selects live paths.
type Filter struct {
	// Prefix is "" or ends in "/".
	Prefix string
	// After selects paths that sort after it, byte by byte.
	After string
	// Scheduled selects paths that have RotateAfterDays.
	Scheduled bool
	Limit     int
}

const queryItems = `SELECT ` + secretColumns + `, ` + versionColumns + `
	FROM secrets s
	LEFT JOIN secret_versions v ON v.secret_id = s.id AND v.version = s.current_version
	WHERE s.deleted_at IS NULL AND s.path > $1
		AND ($2 = '' OR s.path < $2)
		AND (NOT $3 OR s.rotate_after_days > 0)
	ORDER BY s.path LIMIT $4`

// Items lists live paths in byte order.
func (s *Store) Items(ctx context.Context, f Filter) ([]Item, error) {
	rows, err := s.pool.Query(ctx, queryItems, max(f.Prefix, f.After), prefixEnd(f.Prefix), f.Scheduled, f.Limit)
	if err != nil {
		return nil, translate("list paths", err)
	}
	items, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Item, error) {
		var n nullable
		if err := row.Scan(append(n.secretColumns(), n.versionColumns()...)...); err != nil {
			return Item{}, err
		}
		return Item{Secret: *n.secret(), Version: n.versionRow()}, nil
	})
	return items, translate("list paths", err)
}

// prefixEnd is the first string that sorts after everything below prefix: '0'
// follows '/' in ASCII.
func prefixEnd(prefix string) string {
	if prefix == "" {
		return ""
	}
	return strings.TrimSuffix(prefix, "/") + "0"
}

// LockSecret reads the head row of path and holds it until the transaction ends;
// nil when there is none. In the same round trip it draws the id of an audit row.
func (t *Tx) LockSecret(ctx context.Context, path string) (*Secret, error) {
	// A statement that waited for the lock sees the locked row as it is now, but all
	// else as it was before the wait. The newest version and amendment must be asked for
	// by a statement that begins after; both go in one round trip.
	var n nullable
	var batch pgx.Batch
	batch.Queue(`SELECT `+headColumns+` FROM secrets s WHERE s.path = $1 FOR UPDATE`, path).QueryRow(scanIfAny(n.headColumns()...))
	batch.Queue(`SELECT `+newestColumns+` FROM secrets s WHERE s.path = $1`, path).QueryRow(scanIfAny(&n.newest, &n.newestAmendment))
	t.queueAuditID(&batch)
	if err := t.tx.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, translate("lock the path", err)
	}
	return n.secret(), nil
}

// scanIfAny scans a row; none is no error.
func scanIfAny(columns ...any) func(pgx.Row) error {
	return func(row pgx.Row) error {
		if err := row.Scan(columns...); !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		return nil
	}
}

// InsertSecret writes the head row of a new path. It reports false, and writes
// nothing, when another transaction made the path meanwhile.
func (t *Tx) InsertSecret(ctx context.Context, s *Secret) (bool, error) {
	tag, err := t.tx.Exec(ctx, `INSERT INTO secrets (id, path, current_version, first_version, last_version, revision,
		description, tags, rotate_after_days, allowed_services, allowed_environments, deleted_at, mac,
		previous_version, pending_version, max_versions, amended_revision, destroyed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) ON CONFLICT (path) DO NOTHING`,
		s.ID, s.Path, s.CurrentVersion, s.FirstVersion, s.LastVersion, s.Revision,
		s.Description, s.Tags, s.RotateAfterDays, s.AllowedServices, s.AllowedEnvironments, s.DeletedAt, s.MAC,
		s.PreviousVersion, s.PendingVersion, s.MaxVersions, s.AmendedRevision, s.DestroyedAt)
	if err != nil {
		return false, translate("write the path", err)
	}
	return tag.RowsAffected() == 1, nil
}

// UpdateSecret replaces the head row that LockSecret gave.
func (t *Tx) UpdateSecret(s *Secret) {
	t.batch.Queue(`UPDATE secrets SET current_version = $2, first_version = $3, last_version = $4, revision = $5,
		description = $6, tags = $7, rotate_after_days = $8, allowed_services = $9, allowed_environments = $10,
		deleted_at = $11, mac = $12, previous_version = $13, pending_version = $14, max_versions = $15,
		amended_revision = $16, destroyed_at = $17 WHERE id = $1`,
		s.ID, s.CurrentVersion, s.FirstVersion, s.LastVersion, s.Revision, s.Description, s.Tags, s.RotateAfterDays,
		s.AllowedServices, s.AllowedEnvironments, s.DeletedAt, s.MAC,
		s.PreviousVersion, s.PendingVersion, s.MaxVersions, s.AmendedRevision, s.DestroyedAt)
}
