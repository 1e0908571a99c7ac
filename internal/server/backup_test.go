package server_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"

	"filippo.io/age"

	"github.com/coffer-vault/coffer/internal/vault/backup"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

func TestBackup(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	key, err := age.GenerateX25519Identity()
	must(t, err)
	to := []string{key.Recipient().String()}
	admin := e.admin(t)
	client := func(a account) *sdk.Client {
		c, err := sdk.New(sdk.Config{Address: e.url, Token: a.token})
		must(t, err)
		return c
	}
	var file bytes.Buffer
	if err := client(admin).Backup(t.Context(), to, &file); sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied || file.Len() > 0 {
		t.Errorf("without read on sys/backup: %v and %d bytes", err, file.Len())
	}
	e.Allow(t, admin.caller, "sys/backup", policy.Read)
	if err := client(admin).Backup(t.Context(), []string{"nobody"}, &file); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("for nobody: %v", err)
	}
	must(t, client(admin).Backup(t.Context(), to, &file))
	report, err := backup.Verify(bytes.NewReader(file.Bytes()), key)
	must(t, err)
	if len(report.Tables) < 5 {
		t.Errorf("%d tables", len(report.Tables))
	}
	answer := e.do(t, admin, http.MethodPost, "/v1/backup", `{"recipients":[]}`)
	if answer.status < 400 {
		t.Errorf("without recipients: status %d", answer.status)
	}
	// A client that stops reading costs itself only.
	broken := &brokenWriter{}
	if err := client(admin).Backup(context.Background(), to, broken); !errors.Is(err, errBroken) {
		t.Errorf("a writer that fails: %v", err)
	}
}

var errBroken = errors.New("disk full")

type brokenWriter struct{}

func (*brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
