package vault_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/backup"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// addGolden names a backup to add, when something that is stored has changed. Those that
// are there stay: whatever was once stored must open for ever.
var addGolden = flag.String("add-golden", "", "write the backup of a new vault to testdata/<name>.age")

// goldenIdentity opens the golden backups. It is no secret.
const goldenIdentity = "testdata/golden-identity.txt"

// goldenDay is when the golden vaults were written, by their own clocks.
var goldenDay = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

// goldenWrite is the write with an idempotency key of a golden vault.
func goldenWrite(t testing.TB) secret.PutRequest {
	return secret.PutRequest{Path: path("web/token"), Value: vaulttest.Value(t, "keyed"), IdempotencyKey: "golden", Description: new("ä")}
}

// TestGoldenBackupsOpen restores each with today's code, and finds in it all that the code
// of its time wrote: keysets and key rows, labels and states of versions, an idempotency
// key that still repeats its answer, access policies, and an audit log that verifies.
func TestGoldenBackupsOpen(t *testing.T) {
	if *addGolden != "" {
		writeGoldenBackup(t, *addGolden)
	}
	files, err := filepath.Glob("testdata/*.age")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dsn := testkit.Postgres(t)
			restoreGolden(t, file, dsn)
			env := vaulttest.StartWith(t, vaulttest.Config{
				DSN: dsn, NoRedis: true, Root: goldenRoot(t), Clock: func() time.Time { return goldenDay.Add(time.Hour) },
			})
			api := vaulttest.ServiceAccount("payments", "api", "production")
			for _, caller := range []secret.Caller{env.Admin, api} {
				wantRead(t, env.Engine, caller, ref(t, "payments/db", 0), "second")
			}
			wantRead(t, env.Engine, env.Admin, ref(t, "payments/db", 3), "third")
			wantRead(t, env.Engine, env.Admin, ref(t, "payments/db", 4), "pending")
			_, err := read(t, env.Engine, env.Admin, ref(t, "payments/db", 1))
			wantError(t, err, secret.ErrVersionDestroyed)
			m, err := env.Engine.Metadata(t.Context(), env.Admin, path("payments/db"))
			if err != nil || m.Description != "The payments database" || m.Tags["ä"] != "<&>" || m.MaxVersions != 9 || m.RotateAfterDays != 30 {
				t.Errorf("metadata %+v, %v", m, err)
			}
			if m, err := env.Engine.Put(t.Context(), env.Admin, goldenWrite(t)); err != nil || m.Version != 1 || m.Description != "ä" {
				t.Errorf("a write of then repeated: %+v, %v", m, err)
			}
			other := goldenWrite(t)
			other.Description = nil
			_, err = env.Engine.Put(t.Context(), env.Admin, other)
			wantError(t, err, secret.ErrKeyReused)
			if _, err := env.Engine.Undelete(t.Context(), env.Admin, path("old/gone")); err != nil {
				t.Error(err)
			}
			wantRead(t, env.Engine, env.Admin, ref(t, "old/gone", 0), "gone")
			if s := status(t, env); s.Revision < 2 || len(s.Findings) != 0 || len(s.Keys) != 2 {
				t.Errorf("keyring %+v", s)
			}
			report := verify(t, env, env.Engine)
			if len(report.Findings) != 0 || report.Unchained != 0 || report.Rows < 20 || report.From == nil || !report.From.Equal(goldenDay) {
				t.Errorf("audit log %+v", report)
			}
			if got := auditRows(t, env, `WHERE action = 'read' AND request_id = 'golden'`); len(got) != 1 || got[0].Decision != audit.Denied || got[0].Path != "web/token" {
				t.Errorf("audit rows %+v", got)
			}
		})
	}
}

func restoreGolden(t *testing.T, file, dsn string) {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	keys, err := os.Open(goldenIdentity)
	must(t, err)
	defer func() { _ = keys.Close() }()
	_, err = backup.RestoreFile(t.Context(), dsn, keys, bytes.NewReader(content))
	must(t, err)
}

func writeGoldenBackup(t *testing.T, name string) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Root: goldenRoot(t), Clock: func() time.Time { return goldenDay }})
	ctx, db := t.Context(), path("payments/db")
	put := func(r secret.PutRequest) {
		t.Helper()
		_, err := env.Engine.Put(ctx, env.Admin, r)
		must(t, err)
	}
	put(secret.PutRequest{
		Path: db, Value: vaulttest.Value(t, "first"), Description: new("The payments database"), Tags: map[string]string{"ä": "<&>"},
		MaxVersions: new(9), RotateAfterDays: new(30),
		Access: &secret.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"}},
	})
	put(secret.PutRequest{Path: db, Value: vaulttest.Value(t, "second")})
	rotate(t, env.Engine, env.Admin)
	put(secret.PutRequest{Path: db, Value: vaulttest.Value(t, "third")})
	put(secret.PutRequest{Path: db, Value: vaulttest.Value(t, "pending"), Pending: true})
	_, err := env.Engine.Rollback(ctx, env.Admin, secret.Ref{Path: db}, nil)
	must(t, err)
	must(t, env.Engine.DestroyVersions(ctx, env.Admin, db, 1))
	put(goldenWrite(t))
	env.Put(t, "old/gone", "gone")
	must(t, env.Engine.Delete(ctx, env.Admin, path("old/gone")))
	env.Sync(t, "default")
	stranger := vaulttest.ServiceAccount("web", "front", "staging")
	stranger.RequestID = "golden"
	_, err = read(t, env.Engine, stranger, ref(t, "web/token", 0))
	wantError(t, err, secret.ErrDenied)
	for range 10 {
		wantRead(t, env.Engine, env.Admin, ref(t, "payments/db", 0), "second")
	}

	key := identity(t)
	known, err := os.ReadFile(goldenIdentity)
	if err == nil {
		key = parseIdentity(t, string(known))
	} else {
		must(t, os.WriteFile(goldenIdentity, []byte(key.String()+"\n"), 0o644))
	}
	file := filepath.Join("testdata", name+".age")
	if _, err := os.Stat(file); err == nil {
		t.Logf("%s exists and stays: goldens are added, never replaced", file)
		return
	}
	must(t, os.WriteFile(file, takeBackup(t, env, key), 0o644))
}

func parseIdentity(t *testing.T, text string) *age.X25519Identity {
	t.Helper()
	i, err := age.ParseX25519Identity(strings.TrimSpace(text))
	must(t, err)
	return i
}
