package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// codeInsufficientPrivilege is insufficient_privilege; also "must be owner of table …".
const codeInsufficientPrivilege = "42501"

// grantsLock is the key of the advisory lock of who grants rights: Postgres fails
// when two change those of one table at a time.
const grantsLock = 0x436f66666574 // "Cofft"

// ErrOwner says that the role that is to make and change the schema may not, or that there is something
// wrong with the two roles. Waiting does not mend it.
var ErrOwner = errors.New("the database role may not do what the owner of the schema does")

func isForbidden(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == codeInsufficientPrivilege
}

// Rights of the ordinary role on tables. A table that is not named here is one that the engine
// writes as it likes. Rows are written into partitions by the rights on the whole.
const (
	usualRights = "SELECT, INSERT, UPDATE, DELETE"
	noRights    = ""
)

var tableRights = map[string]string{
	"audit":            "SELECT, INSERT",
	"audit_writers":    "SELECT, INSERT, UPDATE",
	"amendments":       "SELECT, INSERT",
	"vault":            "SELECT, INSERT, UPDATE",
	"secrets":          "SELECT, INSERT, UPDATE",
	"secret_versions":  "SELECT, INSERT, UPDATE",
	"rotation_runs":    "SELECT, INSERT, UPDATE",
	"rotation_steps":   "SELECT, INSERT",
	"goose_db_version": "SELECT",
}

// Role is the name of the role whose rights the store has.
func (s *Store) Role(ctx context.Context) (name string, err error) {
	err = s.pool.QueryRow(ctx, `SELECT current_user::text`).Scan(&name)
	return name, translate("ask the database for the role", err)
}

// CheckOwner reports, as ErrOwner, a table of the schema that belongs to a role whose rights this one
// does not have.
func (s *Store) CheckOwner(ctx context.Context) error {
	var table, owner, role string
	err := s.pool.QueryRow(ctx, `SELECT c.relname::text, pg_get_userbyid(c.relowner)::text, current_user::text FROM pg_class c
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'S') AND NOT pg_has_role(c.relowner, 'USAGE')
		ORDER BY c.relname LIMIT 1`).Scan(&table, &owner, &role)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return translate("look who owns the schema", err)
	}
	return fmt.Errorf("%w: %s belongs to %s, and the owner is to be %s. Either give the role %s as the owner and a new one as the ordinary role, "+
		"or run once, in this database and as a superuser: REASSIGN OWNED BY %s TO %s; see \"Two database roles\" in docs/operations.md",
		ErrOwner, table, owner, role, owner, quote(owner), quote(role))
}

// GrantTo gives the role of ordinary exactly the rights that the engine needs. The store's own role owns the
// schema. When both are one role nothing is changed.
//
// Errors: ErrOwner when the two are not about the same tables, secret.ErrUnavailable.
func (s *Store) GrantTo(ctx context.Context, ordinary *Store) error {
	role, err := ordinary.Role(ctx)
	if err != nil {
		return err
	}
	if own, err := s.Role(ctx); err != nil || own == role {
		return err
	}
	err = s.inTx(ctx, func(t *Tx) error {
		if _, err := t.tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(grantsLock)); err != nil {
			return translate("lock the rights", err)
		}
		if err := t.sameDatabase(ctx, ordinary); err != nil {
			return err
		}
		if _, err := t.tx.Exec(ctx, lockParts); err != nil { // none is dropped between the look and the grant
			return translate("lock the partitions of the audit log", err)
		}
		statements, err := t.grants(ctx, quote(role))
		if err != nil {
			return err
		}
		for _, sql := range statements {
			if _, err := t.tx.Exec(ctx, sql); err != nil {
				return translate("grant rights to "+role, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.sameSchema(ctx, ordinary, role)
}

// sameDatabase makes sure that both stores are connected to one database: a lock that one takes is
// taken for the other.
func (t *Tx) sameDatabase(ctx context.Context, ordinary *Store) error {
	var random [8]byte
	_, _ = rand.Read(random[:])
	key := int64(binary.BigEndian.Uint64(random[:]))
	if _, err := t.tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, key); err != nil {
		return translate("compare the databases", err)
	}
	var free bool
	if err := ordinary.pool.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, key).Scan(&free); err != nil {
		return translate("compare the databases", err)
	}
	if free {
		return fmt.Errorf("%w: the URLs of the ordinary role and of the owner lead to two databases; they must differ in the role and the password only", ErrOwner)
	}
	return nil
}

// sameSchema makes sure that both roles find the same tables, whatever their search paths are: the owner has made them in
// the first schema of its own.
func (s *Store) sameSchema(ctx context.Context, ordinary *Store, role string) error {
	const find = `SELECT coalesce(current_schema()::text, '')`
	var ours, theirs string
	if err := s.pool.QueryRow(ctx, find).Scan(&ours); err != nil {
		return translate("compare the schemas", err)
	}
	if err := ordinary.pool.QueryRow(ctx, find).Scan(&theirs); err != nil {
		return translate("compare the schemas", err)
	}
	if ours != theirs {
		return fmt.Errorf("%w: the tables are in the schema %q, and the role %s looks in %q; run: ALTER ROLE %s SET search_path = %s",
			ErrOwner, ours, role, theirs, quote(role), quote(ours))
	}
	return nil
}

// grants are the statements that give role its rights, and take others away.
func (t *Tx) grants(ctx context.Context, role string) ([]string, error) {
	var schema string
	if err := t.tx.QueryRow(ctx, `SELECT current_schema()::text`).Scan(&schema); err != nil {
		return nil, translate("look at the schema", err)
	}
	rows, err := t.tx.Query(ctx, `SELECT relname::text, relkind = 'S', relispartition FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'S') ORDER BY relname`)
	if err != nil {
		return nil, translate("look at the schema", err)
	}
	statements := []string{
		"GRANT USAGE ON SCHEMA " + quote(schema) + " TO " + role,
		"REVOKE CREATE ON SCHEMA " + quote(schema) + " FROM " + role,
	}
	var table string
	var sequence, partition bool
	_, err = pgx.ForEachRow(rows, []any{&table, &sequence, &partition}, func() error {
		statements = append(statements, grantsOn(table, sequence, partition, role)...)
		return nil
	})
	return statements, translate("look at the schema", err)
}

func grantsOn(table string, sequence, partition bool, role string) []string {
	name := quote(table)
	if sequence {
		// With it a backup reads the last number of each too.
		return []string{"REVOKE ALL ON SEQUENCE " + name + " FROM PUBLIC, " + role, "GRANT USAGE ON SEQUENCE " + name + " TO " + role}
	}
	rights, known := tableRights[table]
	switch {
	case partition:
		rights = noRights
	case !known:
		rights = usualRights
	}
	statements := []string{"REVOKE ALL ON TABLE " + name + " FROM PUBLIC, " + role}
	if rights != noRights {
		statements = append(statements, "GRANT "+rights+" ON TABLE "+name+" TO "+role)
	}
	return statements
}

// The rights that are more than adding rows to the log, the greatest first: of the role, and of all that it can become, whether
// it inherits their rights or has to say SET ROLE. Attributes of roles are never inherited.
//
// Who may create a schema can name it after the owner, whose search path begins with it by default: so it can lay traps for the
// owner there as in the log's own schema.
//
// Not looked at are functions that run with their owner's rights, foreign servers and parameters that somebody gave to the role.
// REPLICATION, BYPASSRLS and pg_read_server_files read everything, and change no row.
const queryErasure = `WITH log AS (
		SELECT c.oid, c.relname::text AS name, c.relowner FROM pg_class c
		WHERE c.oid = 'audit_writers'::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree('audit'))),
	self AS (SELECT oid, rolsuper FROM pg_roles WHERE rolname = session_user),
	roles AS (
		SELECT r.oid, r.rolname, r.rolsuper, r.rolcreaterole, CASE WHEN r.oid = self.oid THEN 'it ' ELSE 'as ' || r.rolname || ' it ' END AS who
		FROM self JOIN pg_roles r ON r.oid = self.oid OR NOT self.rolsuper AND pg_has_role(self.oid, r.oid, 'MEMBER')),
	schemas AS (SELECT oid, nspname, nspowner FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
	SELECT reason FROM (
		SELECT 1, who || 'is a superuser' FROM roles WHERE rolsuper
		UNION ALL SELECT 2, who || 'may create roles' FROM roles WHERE rolcreaterole
		UNION ALL SELECT 2, 'it is a member of ' || rolname FROM roles WHERE rolname IN ('pg_execute_server_program', 'pg_write_server_files')
		UNION ALL SELECT 2, who || 'owns the table ' || name FROM roles JOIN log ON relowner = roles.oid
		UNION ALL SELECT 3, who || 'owns the database ' || datname FROM roles JOIN pg_database ON datdba = roles.oid WHERE datname = current_database()
		UNION ALL SELECT 4, who || 'owns the schema ' || nspname FROM roles JOIN schemas ON nspowner = roles.oid
		UNION ALL SELECT 5, who || 'may ' || p || ' ' || name FROM roles, log, unnest('{DELETE,TRUNCATE,TRIGGER}'::text[]) p WHERE has_table_privilege(roles.oid, log.oid, p)
		UNION ALL SELECT 6, who || 'may UPDATE ' || name FROM roles, log WHERE name <> 'audit_writers' AND has_any_column_privilege(roles.oid, log.oid, 'UPDATE')
		UNION ALL SELECT 7, who || 'may CREATE in the schema ' || nspname FROM roles, schemas WHERE has_schema_privilege(roles.oid, schemas.oid, 'CREATE')
		UNION ALL SELECT 8, who || 'may CREATE schemas in the database' FROM roles WHERE has_database_privilege(roles.oid, current_database(), 'CREATE')
	) AS found (rank, reason) ORDER BY rank, reason LIMIT 1`

// ErasureRight says why the store's role could change rows of the audit log or remove them; it is empty when the role
// can only add rows.
func (s *Store) ErasureRight(ctx context.Context) (reason string, err error) {
	err = s.pool.QueryRow(ctx, queryErasure).Scan(&reason)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return reason, translate("look at the rights on the audit log", err)
}
