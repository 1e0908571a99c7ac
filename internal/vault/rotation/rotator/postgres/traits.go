package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// trait is something that decides what a role may do, or how its sessions are.
type trait struct {
	kind traitKind
	// name of the group role, the attribute, the setting (after its database, if it is for one), or the object.
	name string
}

type traitKind string

const (
	memberOf  traitKind = "member"
	attribute traitKind = "attribute"
	setting   traitKind = "setting"
	directly  traitKind = "direct"
)

// traits are a role's, with their values, which are for comparison only.
type traits map[trait]string

// traitsOf asks for what a role is, is a member of, is set to, and has itself. Columns that came with PostgreSQL 16
// are asked for by way of JSON. Login, password and its end are what a rotation changes. What sessions own in their
// temporary schema is gone with them.
const traitsOf = `
WITH the AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1)
SELECT 'attribute', a.key, a.value
  FROM the JOIN pg_catalog.pg_roles r USING (oid), pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(r)
    - '{oid,rolname,rolpassword,rolcanlogin,rolvaliduntil,rolconfig}'::text[]) a
UNION ALL
SELECT 'member', g.rolname, pg_catalog.concat_ws(' ', 'admin', m.admin_option,
    'inherit', pg_catalog.to_jsonb(m)->>'inherit_option', 'set', pg_catalog.to_jsonb(m)->>'set_option')
  FROM the JOIN pg_catalog.pg_auth_members m ON m.member = the.oid JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
UNION ALL
SELECT 'setting', pg_catalog.concat_ws(' in the database ', pg_catalog.split_part(entry, '=', 1), d.datname), entry
  FROM the JOIN pg_catalog.pg_db_role_setting s ON s.setrole = the.oid
    LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, pg_catalog.unnest(s.setconfig) entry
UNION ALL
SELECT 'direct', pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid), s.deptype::text
  FROM the JOIN pg_catalog.pg_shdepend s ON s.refobjid = the.oid AND s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
    LEFT JOIN pg_catalog.pg_class c ON c.oid = s.objid AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  WHERE s.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
    AND s.classid <> 'pg_catalog.pg_auth_members'::pg_catalog.regclass
    AND c.relpersistence IS DISTINCT FROM 't'`

// readTraits asks for those of role; nil when there is none of the name.
func readTraits(ctx context.Context, tx pgx.Tx, role string) (traits, error) {
	rows, err := tx.Query(ctx, traitsOf, role)
	if err != nil {
		return nil, err
	}
	var found traits
	var kind, name, value string
	_, err = pgx.ForEachRow(rows, []any{&kind, &name, &value}, func() error {
		if found == nil {
			found = traits{}
		}
		found[trait{traitKind(kind), name}] = value
		return nil
	})
	return found, err
}

// direct says what the role owns, or was granted, itself.
func (t traits) direct(role string) (wrong []string) {
	for trait := range t {
		if trait.kind == directly {
			wrong = append(wrong, fmt.Sprintf("%s owns, or was granted something on, the %s: let a group role have it, of which both are members", role, trait.name))
		}
	}
	return wrong
}

// differences says what one of two roles has and the other has not, or has otherwise, and the statement that mends it
// where there is one. It gives no value.
func differences(a, b string, ofA, ofB traits) (wrong []string) {
	names := maps.Clone(ofA)
	maps.Copy(names, ofB)
	for t := range names {
		valueA, inA := ofA[t]
		valueB, inB := ofB[t]
		if t.kind == directly || inA && inB && valueA == valueB {
			continue
		}
		switch {
		case t.kind == memberOf && !(inA && inB):
			lacks := a
			if inA {
				lacks = b
			}
			wrong = append(wrong, fmt.Sprintf("GRANT %s TO %s", pgx.Identifier{t.name}.Sanitize(), pgx.Identifier{lacks}.Sanitize()))
		case t.kind == memberOf:
			wrong = append(wrong, fmt.Sprintf("they are members of %s with different options", t.name))
		case t.kind == attribute:
			wrong = append(wrong, fmt.Sprintf("the attribute %s differs: ALTER ROLE", t.name))
		default:
			wrong = append(wrong, fmt.Sprintf("the setting %s differs: ALTER ROLE … SET", t.name))
		}
	}
	return wrong
}

// list joins the first few of wrong.
func list(wrong []string) string {
	const most = 5
	if len(wrong) <= most {
		return strings.Join(wrong, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(slices.Clone(wrong[:most]), "; "), len(wrong)-most)
}
