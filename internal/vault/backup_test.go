package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/backup"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func takeBackup(t testing.TB, env *vaulttest.Env, to *age.X25519Identity) []byte {
	t.Helper()
	write, err := env.Engine.Backup(t.Context(), env.Admin, []string{to.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := write(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// emptyStore is on a database of its own.
func emptyStore(t testing.TB) (*store.Store, string) {
	t.Helper()
	dsn := testkit.Postgres(t)
	s, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, dsn
}

// dump is every row of the tables that a backup has, as text.
func dump(t testing.TB, dsn string, tables []backup.TableSummary) map[string][]string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	all := map[string][]string{}
	for _, table := range tables {
		rows, err := conn.Query(t.Context(), `SELECT x::text FROM `+pgx.Identifier{table.Table}.Sanitize()+` x ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		if all[table.Table], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestBackupRoundTrip: every table is equal after a restore, and an engine with the
// same root key goes on where the vault was.
func TestBackupRoundTrip(t *testing.T) {
	env := vaulttest.Start(t)
	for i := range 20 {
		env.Put(t, fmt.Sprintf("a/%d", i%7), strings.Repeat("v", i*1000))
	}
	env.Put(t, "gone/b", "v")
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "gone/b")); err != nil {
		t.Fatal(err)
	}
	key := identity(t)
	file := takeBackup(t, env, key)
	if entry := lastAudit(t, env); entry.Action != audit.Backup || entry.Path != "sys/backup" || entry.Decision != audit.Allowed {
		t.Errorf("audit: %+v", entry)
	}
	target, dsn := emptyStore(t)
	report, err := backup.Restore(t.Context(), target, bytes.NewReader(file), key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump(t, env.DSN, report.Tables), dump(t, dsn, report.Tables)); diff != "" {
		t.Errorf("(-backed up +restored)\n%s", diff)
	}
	if got := dump(t, dsn, report.Tables); len(got["secret_versions"]) < 20 || len(got["audit"]) == 0 {
		t.Errorf("restored %d versions and %d audit rows", len(got["secret_versions"]), len(got["audit"]))
	}
	if verified, err := backup.Verify(bytes.NewReader(file), key); err != nil || !cmp.Equal(verified, report) {
		t.Errorf("verified %+v, %v; restored %+v", verified, err, report)
	}
	restored := &vaulttest.Env{DSN: dsn, Root: env.Root}
	engine := restored.Open(t)
	wantRead(t, engine, env.Admin, ref(t, "a/5", 0), strings.Repeat("v", 19*1000))
	before := lastAudit(t, env).ID
	m, err := engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/5"), Value: vaulttest.Value(t, "new")})
	if err != nil || m.Version != 4 {
		t.Errorf("after the restore: version %d, %v; want 4", m.Version, err)
	}
	if after := lastAudit(t, restored).ID; after <= before {
		t.Errorf("audit ids go on at %d, and were at %d", after, before)
	}
	if _, err := backup.Restore(t.Context(), target, bytes.NewReader(file), key); !errors.Is(err, store.ErrNotEmpty) {
		t.Errorf("a second restore: %v", err)
	}
}

// TestDamagedBackupRestoresNothing: cut or changed anywhere, or for others.
func TestDamagedBackupRestoresNothing(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", strings.Repeat("v", 200_000))
	key := identity(t)
	file := takeBackup(t, env, key)
	target, dsn := emptyStore(t)
	refused := func(what string, content []byte, want error, by age.Identity) {
		t.Helper()
		if _, err := backup.Restore(t.Context(), target, bytes.NewReader(content), by); !errors.Is(err, want) {
			t.Errorf("%s: got error %v, want %v", what, err, want)
		}
	}
	step := max(1, len(file)/60)
	for n := 0; n < len(file); n += step {
		refused(fmt.Sprintf("cut at %d", n), file[:n], backup.ErrDamaged, key)
		flipped := bytes.Clone(file)
		flipped[n] ^= 1
		if _, err := backup.Restore(t.Context(), target, bytes.NewReader(flipped), key); err == nil {
			t.Errorf("flipped at %d: restored", n)
		}
	}
	refused("cut by a byte", file[:len(file)-1], backup.ErrDamaged, key)
	refused("longer by a byte", append(bytes.Clone(file), 0), backup.ErrDamaged, key)
	refused("another's identity", file, backup.ErrIdentity, identity(t))
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var tables int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables, %v", tables, err)
	}
}

// TestBackupIsOneMoment: two paths written in turn never differ by more than one in
// the backup, though writes go on.
func TestBackupIsOneMoment(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	for i := range 50 {
		env.Put(t, fmt.Sprintf("bulk/%d", i), strings.Repeat("x", 20_000))
	}
	env.Put(t, "pair/a", "v")
	env.Put(t, "pair/b", "v")
	key := identity(t)
	write, err := env.Engine.Backup(t.Context(), env.Admin, []string{key.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	// Whenever the writer of the file is called, something is written to the vault.
	file := &busyFile{during: func() { env.Put(t, "pair/a", "v"); env.Put(t, "pair/b", "v") }}
	if err := write(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	target, dsn := emptyStore(t)
	report, err := backup.Restore(t.Context(), target, bytes.NewReader(file.content.Bytes()), key)
	if err != nil {
		t.Fatal(err)
	}
	restored := &vaulttest.Env{DSN: dsn, Root: env.Root}
	engine := restored.Open(t)
	for _, path := range []string{"pair/a", "pair/b"} {
		m, err := engine.Metadata(t.Context(), env.Admin, vaulttest.Path(t, path))
		if err != nil || m.Version != 1 {
			t.Errorf("%s has version %d, %v; want 1: the snapshot is from before", path, m.Version, err)
		}
	}
	if got := len(dump(t, dsn, report.Tables)["secret_versions"]); got != 52 {
		t.Errorf("%d versions, want 52", got)
	}
}

type busyFile struct {
	content bytes.Buffer
	during  func()
	calls   int
}

func (f *busyFile) Write(p []byte) (int, error) {
	if f.calls++; f.calls <= 5 {
		f.during()
	}
	return f.content.Write(p)
}

func TestBackupIsForWhoMayReadIt(t *testing.T) {
	env := vaulttest.Start(t)
	key := identity(t).Recipient().String()
	other := env.Admin
	other.Name = "other"
	env.AllowAll(t, other, "**")
	if _, err := env.Engine.Backup(t.Context(), other, []string{key}); !errors.Is(err, secret.ErrDenied) {
		t.Errorf("got error %v", err)
	}
	for _, recipients := range [][]string{nil, {"hunter2"}, {key, "age1"}} {
		if _, err := env.Engine.Backup(t.Context(), env.Admin, recipients); !errors.Is(err, secret.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("recipients %v: got error %v", recipients, err)
		}
	}
}

// TestBackupShowsNoValue: not even to the owner of the identity.
func TestBackupShowsNoValue(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "canary-4711")
	key := identity(t)
	opened, err := age.Decrypt(bytes.NewReader(takeBackup(t, env, key)), key)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := io.ReadAll(opened)
	if err != nil || bytes.Contains(inside, []byte("canary-4711")) || !bytes.Contains(inside, []byte("a/b")) {
		t.Errorf("%d bytes, %v", len(inside), err)
	}
}
