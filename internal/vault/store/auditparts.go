package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

const (
	// partsLock is the key of the advisory lock of who changes the partitions of the log;
	// any constant of ours will do.
	partsLock = 0x436f66666573 // "Coffes"
	// partsLockTimeout bounds how long a change of the partitions waits for a lock, since
	// everybody who comes later waits behind it. The next attempt may have more luck.
	partsLockTimeout = 500 * time.Millisecond
	// moveTimeout bounds each statement that holds up those who write rows of no month.
	moveTimeout = 5 * time.Second
)

const (
	// auditDefault is the partition of rows of no month, as the migration has named it.
	auditDefault = "audit_default"
	partPrefix   = "audit_"
)

// codeDuplicateTable is duplicate_table.
const codeDuplicateTable = "42P07"

// errRowsCame says that a month had no rows to move, and then some came while it was made.
var errRowsCame = errors.New("rows of the month came meanwhile")

// ErrBusy says that another replica changes the partitions of the log just now.
var ErrBusy = errors.New("another replica is at it")

// The bounds of a partition stand in the catalog as text, with the offset of the session's time zone.
const queryAuditParts = `SELECT c.relname::text,
		(regexp_match(bound, 'FROM \(''([^'']+)''\)'))[1]::timestamptz, (regexp_match(bound, 'TO \(''([^'']+)''\)'))[1]::timestamptz
	FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, pg_get_expr(c.relpartbound, c.oid) bound
	WHERE i.inhparent = 'audit'::regclass AND bound <> 'DEFAULT' ORDER BY 3, 1`

// AuditParts reads the partitions of the audit log, oldest first, without the one for rows
// of no month.
func (s *Store) AuditParts(ctx context.Context) ([]audit.Part, error) {
	return readAuditParts(ctx, s.pool)
}

func readAuditParts(ctx context.Context, q querier) ([]audit.Part, error) {
	rows, err := q.Query(ctx, queryAuditParts)
	if err != nil {
		return nil, translate("read the partitions of the audit log", err)
	}
	parts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p audit.Part, err error) {
		var from, to *time.Time
		err = row.Scan(&p.Name, &from, &to)
		if from != nil {
			p.From = from.UTC()
		}
		if to != nil {
			p.To = to.UTC()
		}
		return p, err
	})
	return parts, translate("read the partitions of the audit log", err)
}

// StrayMonths are the months before t for which there are rows that are in no month's
// partition. Times that no clock says are left out.
func (s *Store) StrayMonths(ctx context.Context, t time.Time) ([]audit.Month, error) {
	rows, err := s.pool.Query(ctx, `SELECT DISTINCT date_trunc('month', at, 'UTC') FROM audit_default
		WHERE at >= '0001-01-01 00:00:00+00' AND at < $1 ORDER BY 1`, t)
	if err != nil {
		return nil, translate("look for audit rows of no month", err)
	}
	months, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (audit.Month, error) {
		var start time.Time
		err := row.Scan(&start)
		return audit.MonthOf(start), err
	})
	return months, translate("look for audit rows of no month", err)
}

// MakeAuditMonth makes the partition of a month, and moves the rows of it that are in
// no month's partition there. It returns how many it moved. Nobody sees a row twice or not
// at all, and rows are written meanwhile: only when some have to be moved, others wait for the last
// step. A month that is there is left as it is.
//
// Errors: ErrBusy, secret.ErrUnavailable.
func (s *Store) MakeAuditMonth(ctx context.Context, m audit.Month) (moved int64, err error) {
	if moved, err = s.makeAuditMonth(ctx, m); errors.Is(err, errRowsCame) {
		return s.makeAuditMonth(ctx, m)
	}
	return moved, err
}

func (s *Store) makeAuditMonth(ctx context.Context, m audit.Month) (moved int64, err error) {
	err = s.inTx(ctx, func(t *Tx) error {
		if err := t.lockParts(ctx); err != nil {
			return err
		}
		parts, err := readAuditParts(ctx, t.tx)
		if err != nil || slices.ContainsFunc(parts, func(p audit.Part) bool { return p.Holds(m) }) {
			return err
		}
		moved, err = t.makeMonth(ctx, m)
		return err
	})
	return moved, err
}

// lockParts makes the transaction the only one that changes partitions, until it ends.
func (t *Tx) lockParts(ctx context.Context) error {
	_, err := t.tx.Exec(ctx, `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true)`, milliseconds(partsLockTimeout))
	if err != nil {
		return translate("prepare the partitions of the audit log", err)
	}
	var locked bool
	if err := t.tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, int64(partsLock)).Scan(&locked); err != nil {
		return translate("lock the partitions of the audit log", err)
	}
	if !locked {
		return ErrBusy
	}
	return nil
}

// makeMonth makes the partition as a table of its own and fills it while everybody works on.
// Then, behind a lock, it takes what came meanwhile and attaches the table. When there were no rows to move, only who
// reads the whole log or writes rows of no month meets that lock; when some come all the same it returns errRowsCame.
func (t *Tx) makeMonth(ctx context.Context, m audit.Month) (moved int64, err error) {
	name := partPrefix + strings.ReplaceAll(m.String(), "-", "_")
	at := fmt.Sprintf("at >= '%s' AND at < '%s'", stamp(m.Start()), stamp(m.End()))
	table := quote(name)
	// exec runs statements until one fails, and returns how many rows the last was about.
	exec := func(statements ...string) (rows int64, err error) {
		for _, sql := range statements {
			tag, err := t.tx.Exec(ctx, sql)
			var pgErr *pgconn.PgError
			if errors.As(err, &pgErr) && pgErr.Code == codeDuplicateTable {
				return 0, fmt.Errorf("make the partition %s of the audit log: a table of that name is there, which is no partition of it: rename or drop that table: %w", name, err)
			}
			if err != nil {
				return 0, translate("make the partition "+name+" of the audit log", err)
			}
			rows = tag.RowsAffected()
		}
		return rows, nil
	}
	copied, err := exec(
		"CREATE TABLE "+table+" (LIKE audit INCLUDING ALL)",
		"REVOKE ALL ON "+table+" FROM PUBLIC",
		// With it Postgres need not read the table to know that it fits.
		"ALTER TABLE "+table+" ADD CONSTRAINT audit_month CHECK ("+at+")",
		"INSERT INTO "+table+" SELECT * FROM audit_default WHERE "+at,
	)
	if err != nil {
		return 0, err
	}
	lock := "LOCK TABLE audit_default IN ACCESS EXCLUSIVE MODE"
	if copied > 0 {
		// Nobody may have looked up where rows are and not have got there yet: a reader would look for the rows where they
		// were, and a writer be refused there.
		lock = "LOCK TABLE ONLY audit IN ACCESS EXCLUSIVE MODE; " + lock
	}
	came, err := exec(
		lock,
		"SET LOCAL statement_timeout = "+milliseconds(moveTimeout),
		"INSERT INTO "+table+" SELECT * FROM audit_default d WHERE "+at+" AND NOT EXISTS (SELECT FROM "+table+" m WHERE m.id = d.id AND m.at = d.at)",
	)
	if err == nil && came > 0 && copied == 0 {
		err = errRowsCame
	}
	if err != nil {
		return 0, err
	}
	if moved, err = exec("DELETE FROM audit_default WHERE " + at); err != nil {
		return 0, err
	}
	_, err = exec(
		fmt.Sprintf("ALTER TABLE audit ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')", table, stamp(m.Start()), stamp(m.End())),
		"ALTER TABLE "+table+" DROP CONSTRAINT audit_month",
	)
	return moved, err
}

// stamp writes a time as SQL takes it, whatever DateStyle and time zone are.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + "+00" }

// ReadAuditPart gives every row of a partition of the log to row, in the order of ids. Until the
// transaction ends nobody changes the partition; everybody reads it, and writes to others.
//
// Errors: ErrBusy, secret.ErrUnavailable, and those of row.
func (t *Tx) ReadAuditPart(ctx context.Context, p audit.Part, row func(*audit.Row) error) error {
	if err := t.lockParts(ctx); err != nil {
		return err
	}
	parts, err := readAuditParts(ctx, t.tx)
	if err != nil {
		return err
	}
	if !slices.Contains(parts, p) {
		return ErrBusy // another replica has dropped it
	}
	if _, err := t.tx.Exec(ctx, "LOCK TABLE ONLY "+quote(p.Name)+" IN SHARE MODE"); err != nil {
		return translate("lock the partition "+p.Name+" of the audit log", err)
	}
	return walk(ctx, t.tx, quote(p.Name), row)
}

// DropAuditPart drops a partition that ReadAuditPart has read. From here to the commit whoever
// writes or reads the log waits.
func (t *Tx) DropAuditPart(ctx context.Context, p audit.Part) error {
	if err := t.Flush(ctx); err != nil {
		return err
	}
	_, err := t.tx.Exec(ctx, "DROP TABLE "+quote(p.Name))
	return translate("drop the partition "+p.Name+" of the audit log", err)
}

const queryCheckpoints = `SELECT ` + auditRowColumns + ` FROM audit
	WHERE action NOT IN ('read', 'metadata', 'list') AND action = 'checkpoint' ORDER BY id`

// Checkpoints reads the checkpoints of the log.
func (t *Tx) Checkpoints(ctx context.Context) ([]audit.Row, error) {
	return readCheckpoints(ctx, t.tx)
}

func readCheckpoints(ctx context.Context, q querier) ([]audit.Row, error) {
	rows, err := q.Query(ctx, queryCheckpoints)
	if err != nil {
		return nil, translate("read the checkpoints of the audit log", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r audit.Row, err error) {
		err = row.Scan(rowFields(&r)...)
		return r, err
	})
	return found, translate("read the checkpoints of the audit log", err)
}

// CountAuditRows counts the rows of a gap that are in the log.
func (t *Tx) CountAuditRows(ctx context.Context, g audit.Gap) (n int64, err error) {
	err = t.tx.QueryRow(ctx, `SELECT count(*) FROM audit WHERE id > $1 AND id < $2 AND writer = $3 AND seq BETWEEN $4 AND $5`,
		g.After, g.Before, g.Writer, g.First, g.Last).Scan(&n)
	return n, translate("look for rows of the audit log", err)
}

// Now is the database's clock.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	return now, translate("ask the database for the time", err)
}
