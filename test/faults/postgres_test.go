//go:build failpoints

package faults

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/postgres"
)

// postgresSite has a Postgres of its own, and a proxy before it and before Redis.
func postgresSite(t *testing.T) *site {
	t.Helper()
	return siteOn(t, testkit.PostgresServer(t))
}

// smallDiskSite is postgresSite on a disk that a test can fill.
func smallDiskSite(t *testing.T) *site {
	t.Helper()
	server, err := postgres.Start(t.Context(), postgres.Options{DiskBytes: 192 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return siteOn(t, server)
}

func siteOn(t *testing.T, server *postgres.Server) *site {
	t.Helper()
	s := newSite(t, server.DSN())
	s.postgres = server
	var through string
	s.database, through = testkit.Proxy(t, s.dsn)
	s.environment = append(s.environment, workerDSN+"="+through)
	return s
}

// replicatedSite has a primary and a standby that the worker knows both, and no proxy before them.
func replicatedSite(t *testing.T) *site {
	t.Helper()
	primary := testkit.PostgresServer(t)
	standby := testkit.PostgresReplica(t, primary)
	config, err := pgx.ParseConfig(primary.DSN())
	if err != nil {
		t.Fatal(err)
	}
	both := url.URL{
		Scheme: "postgres", User: url.UserPassword(config.User, config.Password), Path: config.Database,
		Host:     fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", primary.Port(), standby.Port()),
		RawQuery: "sslmode=disable&target_session_attrs=read-write",
	}
	s := newSite(t, both.String())
	s.postgres, s.standby = primary, standby
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// awaitFailures waits until each client has felt the fault.
func (s *site) awaitFailures(t *testing.T, since int64) {
	t.Helper()
	s.await(t, "every client to feel the fault", since, everyClient(failed, 1))
}

func killPostgres(t *testing.T, s *site) {
	since := s.mark(t)
	must(t, s.postgres.Kill())
	s.awaitFailures(t, since)
	must(t, s.postgres.Restart(t.Context()))
}

func stopPostgres(t *testing.T, s *site) {
	since := s.mark(t)
	must(t, s.postgres.Stop(t.Context()))
	s.awaitFailures(t, since)
	must(t, s.postgres.Restart(t.Context()))
}

// slowPostgres makes each round trip take as long as one around the earth.
func slowPostgres(t *testing.T, s *site) {
	const latency = 75 * time.Millisecond
	since := s.mark(t)
	s.database.Latency(latency)
	s.await(t, "every client to wait", since, everyClient(slow(2*latency), 3))
	s.database.Heal()
}

// strandPostgres has connections forgotten by a device between: nothing passes, and neither side is told.
func strandPostgres(t *testing.T, s *site) {
	since := s.mark(t)
	s.database.Silence()
	s.database.Strand()
	s.awaitFailures(t, since)
	s.database.Strand() // those too that were made meanwhile
	s.database.Heal()
}

// partitionPostgres lets nothing through for a while; what was sent arrives after, when nobody waits for it any more.
func partitionPostgres(t *testing.T, s *site) {
	since := s.mark(t)
	s.database.Silence()
	s.awaitFailures(t, since)
	s.database.Heal()
}

// idleAfterInsert is the end of Postgres' answer to statements without BEGIN, which were committed with it: the last was an
// INSERT, and the session is in no transaction.
var idleAfterInsert = regexp.MustCompile(`(?s)INSERT 0 \d+\x00Z\x00\x00\x00\x05I$`)

// loseCommitOfWrite loses the answer to the COMMIT of a version that was written.
func loseCommitOfWrite(t *testing.T, s *site) {
	s.loseCommit(t, func(answer []byte) bool { return bytes.Contains(answer, []byte("COMMIT\x00")) }, event.writes)
}

// loseCommitOfAudit loses the answer to the group commit that the row of a read was in.
func loseCommitOfAudit(t *testing.T, s *site) {
	s.loseCommit(t, idleAfterInsert.Match, func(e event) bool { return e.Op == "read" })
}

// loseCommit loses answers that match until the answer to an operation of the kind was among them: it failed, and its
// audit row, so also what it wrote, is in the database.
func (s *site) loseCommit(t *testing.T, match func([]byte) bool, kind func(event) bool) {
	t.Helper()
	deadline := time.Now().Add(feltWithin)
	for time.Now().Before(deadline) {
		since := s.mark(t)
		lost := s.database.LoseAnswer(match)
		select {
		case <-lost:
		case <-time.After(feltWithin):
			t.Fatal("nothing is committed")
		}
		// It may have been a COMMIT of the engine's own, about which no client hears.
		s.await(t, "work after an answer was lost", since, func(events []event) bool {
			return len(failed(events)) > 0 || everyClient(answered, 3)(events)
		})
		for _, e := range failed(s.since(t, since)) {
			if kind(e) && s.tookEffect(t, e) {
				return
			}
		}
	}
	t.Fatal("no COMMIT of the kind was hit")
}

func (s *site) tookEffect(t *testing.T, e event) bool {
	t.Helper()
	var took bool
	s.query(t, &took, `SELECT EXISTS (SELECT FROM audit WHERE request_id = $1 AND action = $2 AND decision = 'allowed')`, e.Request, e.action())
	return took
}

// fillDisk leaves no room for tables to grow.
func fillDisk(t *testing.T, s *site) {
	since := s.mark(t)
	must(t, s.postgres.FillDisk())
	s.awaitFailures(t, since)
	s.freeDisk(t)
}

// fillDiskForWAL leaves no room for the next file of the log, for which Postgres stops altogether.
func fillDiskForWAL(t *testing.T, s *site) {
	since := s.mark(t)
	must(t, s.postgres.FillDisk())
	s.until(t, "Postgres to stop because of its log", feltWithin, func() error {
		select {
		case <-s.postgres.Done():
			return nil
		default:
		}
		// Uses the files up that are there already. The server that gives up says so, and not by an answer.
		_ = s.postgres.Exec(t.Context(), `SELECT pg_switch_wal()`)
		return fmt.Errorf("it runs")
	})
	s.awaitFailures(t, since)
	s.freeDisk(t)
}

// freeDisk is what an operator does: makes room, and starts the server when it has given up.
func (s *site) freeDisk(t *testing.T) {
	t.Helper()
	must(t, s.postgres.FreeDisk())
	select {
	case <-s.postgres.Done():
		must(t, s.postgres.Restart(t.Context()))
	default:
	}
}

// failOver kills the primary, and promotes the standby, which has every acknowledged write.
func failOver(t *testing.T, s *site) {
	select {
	case <-s.standby.Done(): // the primary of the time before
		must(t, s.standby.Rejoin(t.Context(), s.postgres))
	default:
	}
	s.replicate(t, `ALTER SYSTEM SET synchronous_standby_names = '*'`)
	s.until(t, "synchronous replication", feltWithin, func() error {
		return s.postgres.Exec(t.Context(), `SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`)
	})
	since := s.mark(t)
	must(t, s.postgres.Kill())
	s.awaitFailures(t, since)
	must(t, s.standby.Promote(t.Context()))
	s.postgres, s.standby = s.standby, s.postgres
	s.replicate(t, `ALTER SYSTEM RESET synchronous_standby_names`)
}

// replicate changes which standbys the primary waits for.
func (s *site) replicate(t *testing.T, sql string) {
	t.Helper()
	must(t, s.postgres.Exec(t.Context(), sql))
	must(t, s.postgres.Exec(t.Context(), `SELECT pg_reload_conf()`))
}
