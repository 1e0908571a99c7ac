package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/backup"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

var headsKey = client.ObjectKey{Namespace: testNamespace, Name: auditHeadsConfigMap}

// startHeads runs an API server with the namespace of the installation.
func startHeads(t *testing.T) (*AuditHeads, client.Client) {
	t.Helper()
	server, err := kube.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	heads, err := NewAuditHeads(server.Config(), testNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if err := heads.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testNamespace}}); err != nil {
		t.Fatal(err)
	}
	return heads, heads.client
}

// TestAuditHeadsNoticeAnOlderDatabase puts a real Postgres back to an earlier state, and then takes the newest rows out of it.
func TestAuditHeadsNoticeAnOlderDatabase(t *testing.T) {
	heads, cluster := startHeads(t)
	dsn, root := testkit.Postgres(t), vaulttest.Root(t)
	admin := secret.Caller{Kind: secret.KindUser, Cluster: "c", Name: "admin", Address: "127.0.0.1"}
	open := func() (*vault.Engine, func(), error) {
		return OpenEngine(t.Context(), EngineConfig{DatabaseURL: dsn, Root: root, AuditHeads: heads, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	}
	exported := func() (all string) {
		var kept corev1.ConfigMap
		if err := cluster.Get(t.Context(), headsKey, &kept); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		for _, text := range kept.Data {
			all += text
		}
		return all
	}
	session := func() {
		t.Helper()
		before := exported()
		engine, closeEngine, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer closeEngine()
		allowEverything(t, engine, admin)
		eventually(t, "the heads to be exported", nil, func() error {
			if exported() == before {
				return errors.New("not yet")
			}
			return nil
		})
	}
	session()
	dump := copyDatabase(t, dsn)
	restored := backUpAndRestore(t, open, admin)
	session()
	session() // anchors what the one before wrote, and exports the anchor

	newest := dsn
	for what, older := range map[string]string{"an older database": dump, "a restored backup": restored} {
		dsn = older
		if _, _, err := open(); !errors.Is(err, vault.ErrDatabaseOlder) || !strings.Contains(err.Error(), "delete the ConfigMap coffer-system/coffer-audit-heads") {
			t.Errorf("%s: %v", what, err)
		}
	}
	dsn = newest
	session()

	dsn = dump
	if err := cluster.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: headsKey.Namespace, Name: headsKey.Name}}); err != nil {
		t.Fatal(err)
	}
	session()
	verifyFindsTheCut(t, open, dsn, admin)
}

// backUpAndRestore makes a backup as coffer backup does, and restores it as coffer restore does, into a new database.
func backUpAndRestore(t *testing.T, open func() (*vault.Engine, func(), error), admin secret.Caller) (dsn string) {
	t.Helper()
	engine, closeEngine, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	write, err := engine.Backup(t.Context(), admin, []string{key.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := write(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	dsn = testkit.Postgres(t)
	if _, err := backup.RestoreFile(t.Context(), dsn, strings.NewReader(key.String()), bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	return dsn
}

// verifyFindsTheCut removes the log, with its table of writers, from below an engine: nothing in the database tells.
func verifyFindsTheCut(t *testing.T, open func() (*vault.Engine, func(), error), dsn string, admin secret.Caller) {
	t.Helper()
	engine, closeEngine, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine()
	allowEverything(t, engine, admin)
	report, err := engine.VerifyAudit(t.Context(), admin, nil)
	if err != nil || !report.Exported || len(report.Findings) != 0 {
		t.Fatalf("a true log: %+v, %v", report, err)
	}
	onDatabase(t, dsn, `TRUNCATE audit, audit_writers`)
	report, err = engine.VerifyAudit(t.Context(), admin, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		if f.Kind == audit.Truncated && strings.Contains(f.Detail, "exported heads") {
			return
		}
	}
	t.Errorf("the cut was not found: %+v", report.Findings)
}

// TestAuditHeadsAreMerged when many replicas save at the same time, each for another writer.
func TestAuditHeadsAreMerged(t *testing.T) {
	heads, _ := startHeads(t)
	id := uuid.New()
	var wait sync.WaitGroup
	var writers [4]uuid.UUID
	for i := range writers {
		writers[i] = uuid.New()
		wait.Go(func() {
			for seq := int64(1); seq <= 3; seq++ {
				save := []audit.StoredHead{{Head: audit.Head{Writer: writers[i], Seq: seq}, Seal: []byte("seal")}}
				for heads.Save(t.Context(), id, save) != nil && t.Context().Err() == nil { // taken by others too often: as the engine, again
				}
			}
		})
	}
	wait.Wait()
	old := []audit.StoredHead{{Head: audit.Head{Writer: writers[0], Seq: 1}, Seal: []byte("seal")}}
	if err := heads.Save(t.Context(), id, old); err != nil {
		t.Fatal(err)
	}
	loaded, err := heads.Load(t.Context(), id)
	if err != nil || len(loaded) != len(writers) {
		t.Fatalf("loaded %+v, %v", loaded, err)
	}
	for _, h := range loaded {
		if h.Seq != 3 || string(h.Seal) != "seal" {
			t.Errorf("head %+v, want the third row", h)
		}
	}
	if other, err := heads.Load(t.Context(), uuid.New()); err != nil || len(other) != 0 {
		t.Errorf("another vault has %+v, %v", other, err)
	}
}

func allowEverything(t *testing.T, engine *vault.Engine, admin secret.Caller) {
	t.Helper()
	paths := make([]policy.Pattern, 2)
	for i, text := range []string{"**", "sys/**"} {
		var err error
		if paths[i], err = policy.ParsePattern(text); err != nil {
			t.Fatal(err)
		}
	}
	p, err := policy.New("admin", []policy.Rule{{Effect: policy.Allow, Paths: paths, Capabilities: policy.Capabilities(), Subjects: policy.Subjects{Users: []string{admin.Name}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.ReplacePolicies(t.Context(), admin.Cluster, []policy.Policy{p}); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.VerifyAudit(t.Context(), admin, nil); err != nil { // a row, in any case
		t.Fatal(err)
	}
}

// copyDatabase makes a copy of the database as it is now, which nobody is connected to.
func copyDatabase(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	server := *u
	server.Path = "/postgres"
	onDatabase(t, server.String(), fmt.Sprintf(`CREATE DATABASE %s TEMPLATE %s`, pgx.Identifier{name + "_old"}.Sanitize(), pgx.Identifier{name}.Sanitize()))
	u.Path += "_old"
	return u.String()
}

func onDatabase(t *testing.T, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
