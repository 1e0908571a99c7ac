package store

import "context"

// What queryHeads is asked for, and behind it the first live paths below each prefix.
const queryHeadsBelow = `WITH want AS (
		SELECT path, version, n, 0 AS below FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS w (path, version, n)
		UNION ALL
		SELECT f.path, 0, b.n, 1 FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS b (first, last, n),
			LATERAL (SELECT l.path FROM secrets l
				WHERE l.path > b.first COLLATE "C" AND l.path < b.last COLLATE "C" AND l.deleted_at IS NULL
				ORDER BY l.path LIMIT $6) f
	)
	SELECT want.below * want.n, p.revision, p.mac, ` + secretColumns + `, ` + versionColumns + `
	FROM want
	LEFT JOIN policy_sets p ON p.cluster = $3
	LEFT JOIN secrets s ON s.path = want.path COLLATE "C"
	LEFT JOIN secret_versions v ON v.secret_id = s.id
		AND v.version = CASE want.version WHEN 0 THEN s.current_version WHEN -1 THEN s.previous_version
			WHEN -2 THEN s.pending_version ELSE want.version END
	ORDER BY want.below, want.n, want.path COLLATE "C"`

// HeadsBelow reads, in one statement and so as of one moment, what Heads reads, and
// below each of prefixes, which end in "/", the first limit live paths in byte order
// with their current versions.
func (s *Store) HeadsBelow(ctx context.Context, cluster string, wanted []Wanted, prefixes []string, limit int) ([]Head, [][]Head, error) {
	paths, versions := make([]string, len(wanted)), make([]int64, len(wanted))
	for i, w := range wanted {
		paths[i], versions[i] = w.Path, w.Version
	}
	ends := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		ends[i] = prefixEnd(prefix)
	}
	rows, err := s.pool.Query(ctx, queryHeadsBelow, paths, versions, cluster, prefixes, ends, limit)
	if err != nil {
		return nil, nil, translate("read the paths", err)
	}
	var heads []Head
	below := make([][]Head, len(prefixes))
	var n nullable
	var prefix int64
	columns := append([]any{&prefix}, n.policyColumns()...)
	columns = append(append(columns, n.secretColumns()...), n.versionColumns()...)
	for rows.Next() {
		n = nullable{} // columns point into it
		if err = rows.Scan(columns...); err != nil {
			rows.Close()
			break
		}
		if prefix == 0 {
			heads = append(heads, n.head())
			continue
		}
		below[prefix-1] = append(below[prefix-1], n.head())
	}
	if err == nil {
		err = rows.Err()
	}
	return heads, below, translate("read the paths", err)
}
