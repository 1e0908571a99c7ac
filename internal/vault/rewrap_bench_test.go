package vault_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// rewrapRows is how many versions the benchmark rewraps, and floorBatch how many its
// floor updates at a time: as many as a rewrap does.
const (
	rewrapRows = 5_000
	floorBatch = 500
)

// BenchmarkRewrap reports versions a second of a rewrap, of its floor, which reads the
// same rows and writes them back with other bytes, one connection and batches of the same
// size, and the ratio of the two.
func BenchmarkRewrap(b *testing.B) {
	env := vaulttest.StartWith(b, vaulttest.Config{NoRedis: true})
	env.Put(b, "bench/rewrap", "a password of some length")
	// A data key is bound to its version, so no row can be copied.
	for range rewrapRows - 1 {
		env.Put(b, "bench/rewrap", "a password of some length")
	}
	conn := connect(b, env)
	var ours, floor time.Duration
	var versions int64
	for b.Loop() {
		old := primary(b, env)
		rotate(b, env.Engine, env.Admin)
		start := time.Now()
		versions += rewrapAll(b, env.Engine, env.Admin)
		ours += time.Since(start)
		start = time.Now()
		updateAll(b, conn)
		floor += time.Since(start)
		destroy(b, env.Engine, env.Admin, old)
	}
	b.ReportMetric(float64(versions)/ours.Seconds(), "versions/s")
	b.ReportMetric(float64(versions)/floor.Seconds(), "floor-versions/s")
	b.ReportMetric(floor.Seconds()/ours.Seconds(), "ratio")
}

// updateAll reads and updates every version once. The wrapped key keeps its value, so
// that the rows still open; Postgres writes the row all the same, and need not touch
// an index.
func updateAll(b *testing.B, conn *pgx.Conn) {
	b.Helper()
	var id uuid.UUID
	for after := int64(0); ; {
		rows, err := conn.Query(b.Context(), `SELECT secret_id, version, wrapped_key FROM secret_versions
			WHERE version > $1 ORDER BY secret_id, version LIMIT $2`, after, floorBatch)
		if err != nil {
			b.Fatal(err)
		}
		var versions []int64
		var keys [][]byte
		var version int64
		var key []byte
		if _, err := pgx.ForEachRow(rows, []any{&id, &version, &key}, func() error {
			versions, keys = append(versions, version), append(keys, bytes.Clone(key))
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		if len(versions) == 0 {
			return
		}
		after = versions[len(versions)-1]
		if _, err := conn.Exec(b.Context(), `UPDATE secret_versions v SET wrapped_key = n.key
			FROM unnest($1::bigint[], $2::bytea[]) AS n (version, key)
			WHERE v.secret_id = $3 AND v.version = n.version`, versions, keys, id); err != nil {
			b.Fatal(err)
		}
	}
}
