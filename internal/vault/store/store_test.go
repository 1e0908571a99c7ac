package store

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit"
)

// TestCommitsAreDurable: an audit row that a crash of Postgres could lose would
// not be durable before a value leaves.
func TestCommitsAreDurable(t *testing.T) {
	dsn := testkit.Postgres(t)
	for setting, want := range map[string]string{"off": "on", "on": "on", "local": "local", "remote_apply": "remote_apply"} {
		s, err := Open(t.Context(), dsn+"&synchronous_commit="+setting)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := s.pool.QueryRow(t.Context(), `SHOW synchronous_commit`).Scan(&got); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if got != want {
			t.Errorf("synchronous_commit was %s by default and is %s; want %s", setting, got, want)
		}
	}
}

func TestMigrateTwice(t *testing.T) {
	s, err := Open(t.Context(), testkit.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, inside := range map[string]string{"a/": "a/zzz", "a/b/": "a/b/c"} {
		end := prefixEnd(prefix)
		if inside >= end || "a0" < prefixEnd("a/") || "a/b0" < prefixEnd("a/b/") {
			t.Errorf("the end of %q is %q", prefix, end)
		}
	}
}
