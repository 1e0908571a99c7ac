package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/changes"
)

// ErrNotEmpty says that a database to restore into holds a vault already.
var ErrNotEmpty = errors.New("the database is not empty")

// Table is one table of a snapshot, with the columns that hold what cannot be made
// again.
type Table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
}

// Contents says what a snapshot holds.
type Contents struct {
	// SchemaVersion is the number of the newest migration.
	SchemaVersion int64 `json:"schemaVersion"`
	// Tables are in an order in which they can be filled: none refers to a later one.
	Tables []Table `json:"tables"`
	// Sequences are the last numbers given out. None is given out again.
	Sequences map[string]int64 `json:"sequences"`
}

// Snapshot is one moment of the database, to be copied table by table.
type Snapshot struct {
	Contents
	tx pgx.Tx
}

// ReadSnapshot gives f one moment of the whole database, however much is written
// meanwhile. It holds one connection.
func (s *Store) ReadSnapshot(ctx context.Context, f func(*Snapshot) error) error {
	return s.readLong(ctx, "begin a snapshot", func(tx pgx.Tx) error {
		snapshot := &Snapshot{tx: tx}
		if err := snapshot.readContents(ctx); err != nil {
			return translate("read the schema", err)
		}
		return f(snapshot)
	})
}

// notInSnapshot are goose's own table, news that have been told and how far they were
// removed, what is about to be told to people, and who serves the vault now.
const notInSnapshot = `('goose_db_version', 'changes', 'changes_removed', 'notifications', 'replicas')`

func (s *Snapshot) readContents(ctx context.Context) error {
	if err := s.tx.QueryRow(ctx, `SELECT max(version_id) FROM goose_db_version`).Scan(&s.SchemaVersion); err != nil {
		return err
	}
	// Partitions are copied with the table that they are of; generated columns and
	// what has no column at all are not copied.
	rows, err := s.tx.Query(ctx, `SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum),
			ARRAY(SELECT f.confrelid::regclass::text FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
			AND c.relname NOT IN `+notInSnapshot+`
		GROUP BY c.oid, c.relname ORDER BY c.relname`)
	if err != nil {
		return err
	}
	var (
		tables    []Table
		refersTo  = map[string][]string{}
		table     Table
		referents []string
	)
	if _, err := pgx.ForEachRow(rows, []any{&table.Name, &table.Columns, &referents}, func() error {
		tables = append(tables, Table{table.Name, slices.Clone(table.Columns)})
		refersTo[table.Name] = slices.Clone(referents)
		return nil
	}); err != nil {
		return err
	}
	if s.Tables, err = inOrder(tables, refersTo); err != nil {
		return err
	}
	return s.readSequences(ctx)
}

func (s *Snapshot) readSequences(ctx context.Context) error {
	s.Sequences = map[string]int64{}
	var (
		name string
		last int64
	)
	rows, err := s.tx.Query(ctx, `SELECT sequencename::text, last_value FROM pg_sequences
		WHERE schemaname = current_schema() AND last_value IS NOT NULL AND sequencename NOT LIKE 'goose_%'`)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, []any{&name, &last}, func() error {
		s.Sequences[name] = last
		return nil
	})
	return err
}

// inOrder puts tables behind those that they refer to.
func inOrder(tables []Table, refersTo map[string][]string) ([]Table, error) {
	var ordered []Table
	done := map[string]bool{}
	for len(ordered) < len(tables) {
		before := len(ordered)
		for _, t := range tables {
			missing := slices.ContainsFunc(refersTo[t.Name], func(name string) bool { return !done[name] })
			if !done[t.Name] && !missing {
				done[t.Name] = true
				ordered = append(ordered, t)
			}
		}
		if len(ordered) == before {
			return nil, errors.New("the tables refer to each other in a circle")
		}
	}
	return ordered, nil
}

// CopyOut writes the rows of t to w in Postgres's binary COPY format, and counts
// them.
func (s *Snapshot) CopyOut(ctx context.Context, t Table, w io.Writer) (int64, error) {
	tag, err := s.tx.Conn().PgConn().CopyTo(ctx, w, "COPY (SELECT "+columnList(t)+" FROM "+quote(t.Name)+") TO STDOUT (FORMAT binary)")
	return tag.RowsAffected(), translate("copy "+t.Name, err)
}

// Restore fills an empty database, in one transaction, with a snapshot: its schema as
// of contents, then what fill copies. Then it brings the schema up to date.
//
// Errors: ErrNotEmpty, secret.ErrUnavailable, and those of fill.
func (s *Store) Restore(ctx context.Context, contents Contents, fill func(*Filling) error) error {
	if err := s.refuseVault(ctx); err != nil {
		return err
	}
	if err := s.migrateTo(ctx, contents.SchemaVersion); err != nil {
		return err
	}
	err := s.inTx(ctx, func(t *Tx) error {
		for _, table := range contents.Tables {
			// Migrations may have written rows, such as keys that a vault of old has.
			if _, err := t.tx.Exec(ctx, "LOCK TABLE "+quote(table.Name)+" IN ACCESS EXCLUSIVE MODE"); err != nil {
				return translate("restore "+table.Name, err)
			}
			var some bool
			if err := t.tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+quote(table.Name)+")").Scan(&some); err != nil {
				return translate("restore "+table.Name, err)
			}
			if some {
				return fmt.Errorf("table %s has rows: %w", table.Name, ErrNotEmpty)
			}
		}
		if err := fill(&Filling{t.tx}); err != nil {
			return err
		}
		for name, last := range contents.Sequences {
			if _, err := t.tx.Exec(ctx, `SELECT setval($1::regclass, $2)`, quote(name), last); err != nil {
				return translate("restore the sequence "+name, err)
			}
		}
		// Who follows this database by an older state of it looks at everything again.
		t.InsertChange(changes.Change{Kind: changes.Policy})
		return t.Flush(ctx)
	})
	if err != nil {
		return err
	}
	return s.Migrate(ctx)
}

// refuseVault looks before anything is changed.
func (s *Store) refuseVault(ctx context.Context) error {
	var exists, some bool
	if err := s.pool.QueryRow(ctx, `SELECT to_regclass('vault') IS NOT NULL`).Scan(&exists); err != nil {
		return translate("look at the database", err)
	}
	if !exists {
		return nil
	}
	if err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM vault)`).Scan(&some); err != nil {
		return translate("look at the database", err)
	}
	if some {
		return ErrNotEmpty
	}
	return nil
}

// Filling is a restore under way.
type Filling struct{ tx *transaction }

// CopyIn reads rows of t in Postgres's binary COPY format, and counts them.
func (f *Filling) CopyIn(ctx context.Context, t Table, r io.Reader) (int64, error) {
	if err := f.tx.begin(ctx); err != nil {
		return 0, translate("restore "+t.Name, err)
	}
	tag, err := f.tx.conn.Conn().PgConn().CopyFrom(ctx, r, "COPY "+quote(t.Name)+" ("+columnList(t)+") FROM STDIN (FORMAT binary)")
	return tag.RowsAffected(), translate("restore "+t.Name, err)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func columnList(t Table) string {
	quoted := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		quoted[i] = quote(c)
	}
	return strings.Join(quoted, ", ")
}
