package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Policy is one stored VaultPolicy; Rules is JSON, byte for byte as written.
type Policy struct {
	Name  string
	Rules []byte
}

// PolicySet is all policies of a cluster, by name.
type PolicySet struct {
	PolicySetHead
	Policies []Policy
}

const queryPolicySet = `SELECT s.revision, s.mac, p.name, p.rules::text FROM policy_sets s
	LEFT JOIN policies p USING (cluster) WHERE s.cluster = $1 ORDER BY p.name COLLATE "C"`

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// PolicySet reads the policies of cluster as of one moment; nil when they were
// never synced.
func (s *Store) PolicySet(ctx context.Context, cluster string) (*PolicySet, error) {
	return readPolicySet(ctx, s.pool, cluster)
}

func readPolicySet(ctx context.Context, q querier, cluster string) (*PolicySet, error) {
	rows, err := q.Query(ctx, queryPolicySet, cluster)
	if err != nil {
		return nil, translate("read the policies", err)
	}
	var set *PolicySet
	var head PolicySetHead
	var name, rules *string
	_, err = pgx.ForEachRow(rows, []any{&head.Revision, &head.MAC, &name, &rules}, func() error {
		if set == nil {
			set = &PolicySet{PolicySetHead: head}
		}
		if name != nil {
			set.Policies = append(set.Policies, Policy{Name: *name, Rules: []byte(*rules)})
		}
		return nil
	})
	return set, translate("read the policies", err)
}

// LockPolicySet reads the policies of cluster and holds the set until the
// transaction ends, also when there is none yet; then it returns nil.
func (t *Tx) LockPolicySet(ctx context.Context, cluster string) (*PolicySet, error) {
	const lock = `SELECT pg_advisory_xact_lock(hashtextextended('coffer policies ' || $1, 0))`
	if _, err := t.tx.Exec(ctx, lock, cluster); err != nil {
		return nil, translate("lock the policies", err)
	}
	return readPolicySet(ctx, t.tx, cluster)
}

// ReplacePolicySet replaces the policies of cluster.
func (t *Tx) ReplacePolicySet(cluster string, set *PolicySet) {
	t.batch.Queue(`INSERT INTO policy_sets (cluster, revision, mac) VALUES ($1, $2, $3)
		ON CONFLICT (cluster) DO UPDATE SET revision = excluded.revision, mac = excluded.mac`, cluster, set.Revision, set.MAC)
	t.batch.Queue(`DELETE FROM policies WHERE cluster = $1`, cluster)
	for _, p := range set.Policies {
		t.batch.Queue(`INSERT INTO policies (cluster, name, rules) VALUES ($1, $2, $3::text::json)`, cluster, p.Name, string(p.Rules))
	}
}
