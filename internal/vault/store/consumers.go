package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// ConsumerKey says which row of a cluster's consumers is meant.
type ConsumerKey struct{ Kind, Namespace, Name, Path string }

// Consumer is one row: who has which version of a path.
type Consumer struct {
	Cluster string
	ConsumerKey
	UID               string
	Version           int64
	Workloads, Rolled int32
	State             string
	Since, SeenAt     time.Time
	// MAC covers all other fields.
	MAC []byte
}

// ConsumerSet is what holds the rows of one cluster together.
type ConsumerSet struct {
	Revision int64
	// MAC covers the revision, and the MAC and the path of every row.
	MAC []byte
}

// ConsumerMAC is what a set says of one of its rows.
type ConsumerMAC struct {
	MAC []byte
	// Path is beside it since only the rows of a path that is asked for are looked at
	// closer: one that was moved to another path would be missed.
	Path string
}

// ClusterConsumers are the consumers of one cluster as of one moment.
type ClusterConsumers struct {
	Cluster string
	// Set is nil when the row is missing.
	Set *ConsumerSet
	// MACs are those of all rows, in no order.
	MACs []ConsumerMAC
	// Rows are those that were asked for.
	Rows []Consumer
}

const consumerColumns = `kind, namespace, name, path, uid, version, workloads, rolled, state, since, seen_at, mac`

func consumerFields(c *Consumer) []any {
	return []any{&c.Kind, &c.Namespace, &c.Name, &c.Path, &c.UID, &c.Version, &c.Workloads, &c.Rolled, &c.State, &c.Since, &c.SeenAt, &c.MAC}
}

// LockConsumers holds what is acknowledged for cluster until the transaction ends, and
// returns what holds its rows together; nil when nothing was acknowledged yet.
func (t *Tx) LockConsumers(ctx context.Context, cluster string) (*ConsumerSet, error) {
	const lock = `SELECT pg_advisory_xact_lock(hashtextextended('coffer consumers ' || $1, 0))`
	if _, err := t.tx.Exec(ctx, lock, cluster); err != nil {
		return nil, translate("lock the consumers", err)
	}
	var set ConsumerSet
	err := t.tx.QueryRow(ctx, `SELECT revision, mac FROM consumer_sets WHERE cluster = $1`, cluster).Scan(&set.Revision, &set.MAC)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &set, translate("read the consumers", err)
}

// NamedConsumers reads the rows of those that keys name, whatever their path is there.
func (t *Tx) NamedConsumers(ctx context.Context, cluster string, keys []ConsumerKey) ([]Consumer, error) {
	return t.consumers(ctx, cluster, `SELECT `+consumerColumns+` FROM consumers
		JOIN unnest($2::text[], $3::text[], $4::text[]) named (kind, namespace, name) USING (kind, namespace, name) WHERE cluster = $1`,
		column(keys, func(k *ConsumerKey) string { return k.Kind }),
		column(keys, func(k *ConsumerKey) string { return k.Namespace }),
		column(keys, func(k *ConsumerKey) string { return k.Name }))
}

// AllConsumers reads all rows of cluster.
func (t *Tx) AllConsumers(ctx context.Context, cluster string) ([]Consumer, error) {
	return t.consumers(ctx, cluster, `SELECT `+consumerColumns+` FROM consumers WHERE cluster = $1`)
}

func (t *Tx) consumers(ctx context.Context, cluster, query string, arguments ...any) ([]Consumer, error) {
	rows, err := t.tx.Query(ctx, query, append([]any{cluster}, arguments...)...)
	if err != nil {
		return nil, translate("read the consumers", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Consumer, error) {
		c := Consumer{Cluster: cluster}
		return c, row.Scan(consumerFields(&c)...)
	})
	return found, translate("read the consumers", err)
}

// ConsumerMACs reads the MACs of all rows of cluster.
func (t *Tx) ConsumerMACs(ctx context.Context, cluster string) ([]ConsumerMAC, error) {
	rows, err := t.tx.Query(ctx, `SELECT mac, path FROM consumers WHERE cluster = $1`, cluster)
	if err != nil {
		return nil, translate("read the consumers", err)
	}
	macs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ConsumerMAC])
	return macs, translate("read the consumers", err)
}

// SaveConsumers removes and puts rows of cluster, a row that is put in place of the one of
// its key, and writes the set that holds them together.
func (t *Tx) SaveConsumers(cluster string, removed []ConsumerKey, put []Consumer, set ConsumerSet) {
	if len(removed) > 0 {
		t.batch.Queue(`DELETE FROM consumers c USING unnest($2::text[], $3::text[], $4::text[], $5::text[]) gone (kind, namespace, name, path)
			WHERE c.cluster = $1 AND c.kind = gone.kind AND c.namespace = gone.namespace AND c.name = gone.name AND c.path = gone.path`,
			cluster,
			column(removed, func(k *ConsumerKey) string { return k.Kind }),
			column(removed, func(k *ConsumerKey) string { return k.Namespace }),
			column(removed, func(k *ConsumerKey) string { return k.Name }),
			column(removed, func(k *ConsumerKey) string { return k.Path }))
	}
	if len(put) > 0 {
		t.batch.Queue(`INSERT INTO consumers (cluster, `+consumerColumns+`) SELECT $1, u.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[],
				$6::text[], $7::bigint[], $8::integer[], $9::integer[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::bytea[]) u
			ON CONFLICT (cluster, namespace, name, kind, path) DO UPDATE SET uid = excluded.uid, version = excluded.version,
				workloads = excluded.workloads, rolled = excluded.rolled, state = excluded.state, since = excluded.since,
				seen_at = excluded.seen_at, mac = excluded.mac`,
			append([]any{cluster}, consumerArrays(put)...)...)
	}
	t.batch.Queue(`INSERT INTO consumer_sets (cluster, revision, mac) VALUES ($1, $2, $3)
		ON CONFLICT (cluster) DO UPDATE SET revision = excluded.revision, mac = excluded.mac`, cluster, set.Revision, set.MAC)
}

// consumerArrays are the rows by column, in the order of consumerColumns.
func consumerArrays(rows []Consumer) []any {
	return []any{
		column(rows, func(c *Consumer) string { return c.Kind }),
		column(rows, func(c *Consumer) string { return c.Namespace }),
		column(rows, func(c *Consumer) string { return c.Name }),
		column(rows, func(c *Consumer) string { return c.Path }),
		column(rows, func(c *Consumer) string { return c.UID }),
		column(rows, func(c *Consumer) int64 { return c.Version }),
		column(rows, func(c *Consumer) int32 { return c.Workloads }),
		column(rows, func(c *Consumer) int32 { return c.Rolled }),
		column(rows, func(c *Consumer) string { return c.State }),
		column(rows, func(c *Consumer) time.Time { return c.Since }),
		column(rows, func(c *Consumer) time.Time { return c.SeenAt }),
		column(rows, func(c *Consumer) []byte { return c.MAC }),
	}
}

// Of all rows only the MAC and the path are read, but of those of the path everything: one
// statement, so one moment.
const queryConsumers = `SELECT coalesce(s.cluster, c.cluster), s.revision, s.mac, c.mac, c.path,
		d.kind, d.namespace, d.name, d.uid, d.version, d.workloads, d.rolled, d.state, d.since, d.seen_at
	FROM consumer_sets s FULL JOIN consumers c ON c.cluster = s.cluster
	LEFT JOIN LATERAL (SELECT c.* WHERE c.path = $1) d ON true
	ORDER BY 1`

// Consumers reads the consumers of path in every cluster, as of one moment.
func (s *Store) Consumers(ctx context.Context, path string) ([]ClusterConsumers, error) {
	rows, err := s.pool.Query(ctx, queryConsumers, path)
	if err != nil {
		return nil, translate("read the consumers", err)
	}
	var found []ClusterConsumers
	var row consumerRow
	_, err = pgx.ForEachRow(rows, row.fields(), func() error {
		if len(found) == 0 || found[len(found)-1].Cluster != row.cluster {
			found = append(found, ClusterConsumers{Cluster: row.cluster, Set: row.set()})
		}
		row.addTo(&found[len(found)-1])
		return nil
	})
	return found, translate("read the consumers", err)
}

// consumerRow is one of queryConsumers: a row of a cluster, none when path is nil, and the
// rest of it when kind is there.
type consumerRow struct {
	cluster               string
	revision              *int64
	setMAC, mac           []byte
	path                  *string
	kind, namespace, name *string
	uid, state            *string
	version               *int64
	workloads, rolled     *int32
	since, seenAt         *time.Time
}

func (r *consumerRow) fields() []any {
	return []any{
		&r.cluster, &r.revision, &r.setMAC, &r.mac, &r.path, &r.kind, &r.namespace, &r.name, &r.uid, &r.version, &r.workloads, &r.rolled,
		&r.state, &r.since, &r.seenAt,
	}
}

func (r *consumerRow) set() *ConsumerSet {
	if r.revision == nil {
		return nil
	}
	return &ConsumerSet{Revision: *r.revision, MAC: r.setMAC}
}

func (r *consumerRow) addTo(c *ClusterConsumers) {
	if r.path == nil {
		return
	}
	c.MACs = append(c.MACs, ConsumerMAC{MAC: r.mac, Path: *r.path})
	if r.kind == nil {
		return
	}
	c.Rows = append(c.Rows, Consumer{
		Cluster: r.cluster, ConsumerKey: ConsumerKey{Kind: *r.kind, Namespace: *r.namespace, Name: *r.name, Path: *r.path},
		UID: *r.uid, Version: *r.version, Workloads: *r.workloads, Rolled: *r.rolled, State: *r.state, Since: *r.since, SeenAt: *r.seenAt, MAC: r.mac,
	})
}
