package store

import (
	"slices"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// TestStrayMonths are those before now that no partition holds, by UTC whatever the session's time zone is. Times that no clock
// says are in no month, and do not keep the others from being found.
func TestStrayMonths(t *testing.T) {
	s := openMigrated(t, "&timezone=Asia%2FKathmandu")
	if _, err := s.pool.Exec(t.Context(), `ALTER TABLE audit DETACH PARTITION audit_first`); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, at := range []string{
		"-infinity", "0044-03-15 12:00:00+00 BC", "1970-01-01 00:00:00+00", "2026-07-31 23:30:00+00", "2026-09-30 18:20:00+00", "2026-10-31 23:59:59.999999+00",
		"2026-11-20 11:59:59.999999+00", "2026-11-20 12:00:00+00", "2026-12-01 00:00:00+00", "2031-05-01 00:00:00+00", "infinity",
	} {
		_, err := s.pool.Exec(t.Context(), `INSERT INTO audit (at, cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version, decision, rule, address, request_id)
			VALUES ($1::text::timestamptz, '', '', '', '', '', '', 'read', 'a/b', 1, 'allowed', '', '', '')`, at)
		if err != nil {
			t.Fatal(err)
		}
	}
	months, err := s.StrayMonths(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range months {
		got = append(got, m.String())
	}
	if want := []string{"1970-01", "2026-07", "2026-09", "2026-10", "2026-11"}; !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestNewMonthIsNobodysElse from the moment it is there, in a database that gives everybody rights on new tables.
func TestNewMonthIsNobodysElse(t *testing.T) {
	s := openMigrated(t, "")
	month := audit.MonthOf(time.Now()).Add(1)
	if _, err := s.pool.Exec(t.Context(), `ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MakeAuditMonth(t.Context(), month); err != nil {
		t.Fatal(err)
	}
	parts, err := s.AuditParts(t.Context())
	if err != nil || len(parts) != 2 || !parts[1].Holds(month) {
		t.Fatalf("parts %+v, %v", parts, err)
	}
	var rights int
	err = s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE relname = $1 AND grantee = 0`, parts[1].Name).Scan(&rights)
	if err != nil || rights != 0 {
		t.Errorf("everybody has %d rights on %s, %v", rights, parts[1].Name, err)
	}
}
