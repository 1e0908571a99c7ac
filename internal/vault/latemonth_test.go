package vault_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/store"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// ownerStore is the store by which months are made.
func ownerStore(t testing.TB, env *vaulttest.Env) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), env.Roles.Owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// makes makes the month meanwhile, and gives how it ended.
func makes(t testing.TB, owner *store.Store, month audit.Month) chan error {
	t.Helper()
	made := make(chan error, 1)
	go func() {
		_, err := owner.MakeAuditMonth(t.Context(), month)
		made <- err
	}()
	return made
}

// aside opens a connection past the engine that is closed before the test ends: what is tried again would use them up.
func aside(t testing.TB, env *vaulttest.Env) (conn *pgx.Conn, end func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), env.DSN)
	if err != nil {
		t.Fatal(err)
	}
	end = func() { _ = conn.Close(context.Background()) }
	t.Cleanup(end)
	return conn, end
}

// holds runs sql in a transaction of its own; the returned function commits it.
func holds(t testing.TB, env *vaulttest.Env, sql string) (commit func()) {
	t.Helper()
	conn, end := aside(t, env)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return func() {
		t.Helper()
		defer end()
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// waits returns when somebody waits for a lock as where says of pg_locks l and pg_stat_activity a, and then true; or when
// something has come out of ended, which it puts back.
func waits[T any](t testing.TB, env *vaulttest.Env, where string, ended chan T) bool {
	t.Helper()
	conn, end := aside(t, env)
	defer end()
	find := `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database() AND ` + where + `)`
	found := false
	eventually(t, "a wait for a lock: "+where, func() bool {
		select {
		case early := <-ended:
			ended <- early
			return true
		default:
		}
		if err := conn.QueryRow(t.Context(), find).Scan(&found); err != nil {
			t.Fatal(err)
		}
		return found
	})
	return found
}

// The months below are made late: rows of them stand where rows of no month do, and others are on their way there. Making one
// waits half a second for its locks, so that on a slow machine it is tried again.

// TestRowThatCommitsWhileItsMonthIsMade goes to the month too: when the rows of the month were copied it was not committed.
func TestRowThatCommitsWhileItsMonthIsMade(t *testing.T) {
	env, _, month := oldRelease(t)
	owner := ownerStore(t, env)
	settles(t, "to make a month with a row on its way", func() error {
		commit := holds(t, env, `SELECT FROM audit_writers FOR UPDATE`) // the row is written, and the head of its writer cannot be
		written := make(chan error, 1)
		go func() {
			_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", 0))
			written <- err
		}()
		if !waits(t, env, `a.query LIKE 'INSERT INTO audit_writers%'`, written) {
			commit()
			must(t, <-written)
			return errors.New("the row is of a new writer and waits for nobody")
		}
		made := makes(t, owner, month)
		waits(t, env, `l.relation IN ('audit'::regclass, 'audit_default'::regclass)`, made)
		commit()
		must(t, <-written)
		return <-made
	})
	if n := count(t, env, "audit_default"); n != "0" {
		t.Errorf("%s rows are in no month", n)
	}
	wantWhole(t, env, env.Engine, "with the row that came meanwhile")
}

// TestWhoComesWhileAMonthIsMade waits before the log, and finds it with the month. Were only the rows of no month
// locked, a reader would go on to look for all rows where they no longer are, and a writer of a release that does not
// try again would be refused.
func TestWhoComesWhileAMonthIsMade(t *testing.T) {
	env, _, month := oldRelease(t)
	owner := ownerStore(t, env)
	before, err := strconv.Atoi(count(t, env, "audit"))
	must(t, err)
	settles(t, "to make a month while others come", func() error {
		// Neither a reader nor a writer is held up by this; whoever changes partitions is.
		commit := holds(t, env, `LOCK TABLE ONLY audit IN SHARE UPDATE EXCLUSIVE MODE`)
		made := makes(t, owner, month)
		waits(t, env, `l.relation = 'audit'::regclass`, made)
		const insert = `INSERT INTO audit (at, cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version, decision, rule, address, request_id)
			VALUES ($1, '', '', 'writer', '', '', '', 'read', 'a/b', 1, 'allowed', '', '', '')`
		type counted struct {
			rows int
			err  error
		}
		wrote, seen := make(chan error, 1), make(chan counted, 1)
		writer, endWriter := aside(t, env)
		reader, endReader := aside(t, env)
		defer endWriter()
		defer endReader()
		go func() {
			_, err := writer.Exec(t.Context(), insert, month.Start())
			wrote <- err
		}()
		go func() {
			var c counted
			c.err = reader.QueryRow(t.Context(), `SELECT count(*) FROM audit WHERE caller <> 'writer'`).Scan(&c.rows)
			seen <- c
		}()
		waits(t, env, fmt.Sprintf("l.pid = %d", writer.PgConn().PID()), wrote)
		waits(t, env, fmt.Sprintf("l.pid = %d", reader.PgConn().PID()), seen)
		commit()
		if err := <-wrote; err != nil {
			t.Errorf("a writer: %v", err)
		}
		if got := <-seen; got.err != nil || got.rows < before {
			t.Errorf("a reader saw %d rows, %v; want %d or more", got.rows, got.err, before)
		}
		return <-made
	})
}

// TestMonthThatCannotBeMadeHoldsNobodyUp: who reads the whole log for long keeps the month from being made, and nobody from writing.
func TestMonthThatCannotBeMadeHoldsNobodyUp(t *testing.T) {
	env, _, month := oldRelease(t)
	commit := holds(t, env, `LOCK TABLE audit IN ACCESS SHARE MODE`)
	made := makes(t, ownerStore(t, env), month)
	var err error
	for waiting := true; waiting; {
		select {
		case err = <-made:
			waiting = false
		default:
			env.Put(t, "a/b", "v")
		}
	}
	if err == nil || !strings.Contains(err.Error(), "lock timeout") {
		t.Errorf("while the log is read: %v", err)
	}
	commit()
	maintain(t, env.Engine)
	if n := count(t, env, "audit_default"); n != "0" {
		t.Errorf("%s rows are in no month", n)
	}
	wantWhole(t, env, env.Engine, "afterwards")
}

// TestRowThatMeetsTheMakingOfItsMonth is written again: on its way to no month it finds that it belongs to one now.
func TestRowThatMeetsTheMakingOfItsMonth(t *testing.T) {
	env, clock, month := oldRelease(t)
	maintain(t, env.Engine)
	month = month.Add(audit.MonthsAhead)
	owner := ownerStore(t, env)
	settles(t, "to make a month that a row meets", func() error {
		month = month.Add(1) // one without rows: nothing is copied, and the log stays open
		clock.Set(month.Start())
		commit := holds(t, env, `LOCK TABLE ONLY audit IN SHARE UPDATE EXCLUSIVE MODE`)
		made := makes(t, owner, month)
		waits(t, env, `l.relation = 'audit'::regclass`, made) // to attach the month, and has locked the rows of none
		written := make(chan error, 1)
		go func() {
			_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", 0))
			written <- err
		}()
		met := waits(t, env, `l.relation = 'audit_default'::regclass AND l.mode = 'RowExclusiveLock'`, written)
		commit()
		must(t, <-written)
		err := <-made
		if err == nil && !met {
			t.Fatal("the row did not meet the making of its month")
		}
		return err
	})
	wantWhole(t, env, env.Engine, "with the row that was written again")
}

// TestReaderOfTheFirstRowOfALateMonth sees it, when it comes after the month was found to have no rows to move, and the reader
// between that and the end of the making.
func TestReaderOfTheFirstRowOfALateMonth(t *testing.T) {
	env, clock, month := oldRelease(t)
	maintain(t, env.Engine)
	month = month.Add(audit.MonthsAhead)
	owner := ownerStore(t, env)
	settles(t, "to make a month whose first row comes meanwhile", func() error {
		month = month.Add(1)
		clock.Set(month.Start())
		attached := holds(t, env, `LOCK TABLE ONLY audit IN SHARE UPDATE EXCLUSIVE MODE`)
		commit := holds(t, env, `SELECT FROM audit_writers FOR UPDATE`)
		written := make(chan error, 1)
		go func() {
			_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", 0))
			written <- err
		}()
		onItsWay := waits(t, env, `a.query LIKE 'INSERT INTO audit_writers%'`, written)
		made := makes(t, owner, month)
		waits(t, env, `l.relation = 'audit_default'::regclass`, made)
		commit()
		must(t, <-written)
		waits(t, env, `l.relation = 'audit'::regclass`, made)
		reader, end := aside(t, env)
		defer end()
		seen := make(chan error, 1)
		go func() {
			var n int
			err := reader.QueryRow(t.Context(), `SELECT count(*) FROM audit WHERE at >= $1 AND action = 'read'`, month.Start()).Scan(&n)
			if err == nil && n == 0 {
				err = errors.New("the row is not there")
			}
			seen <- err
		}()
		waits(t, env, fmt.Sprintf("l.pid = %d", reader.PgConn().PID()), seen)
		attached()
		if err := <-seen; err != nil {
			t.Fatalf("a reader: %v", err)
		}
		if err := <-made; err != nil || !onItsWay {
			return errors.Join(errors.New("once more"), err)
		}
		return nil
	})
	wantWhole(t, env, env.Engine, "with the first row")
}
