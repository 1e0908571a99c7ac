package server_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// TestExportAudit over HTTP: pages that any replica goes on with, and no row twice.
func TestExportAudit(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	for i := range 5 {
		e.Put(t, fmt.Sprintf("a/%d", i), "v")
	}
	other := start(t, e.Env, func(c *server.Config) { c.Vault = e.Open(t) })
	clients := []*sdk.Client{e.client(t, admin), other.client(t, admin)}
	var paths []string
	request := sdk.AuditExportRequest{Prefix: "a/", Action: "put", Limit: 2}
	for pages := 0; ; pages++ {
		page, err := clients[pages%2].ExportAuditPage(t.Context(), request)
		must(t, err)
		for _, row := range page.Items {
			paths = append(paths, row.Path)
			if row.Writer == "" || row.Seq == 0 || len(row.MAC) != 64 || len(row.Previous) != 64 {
				t.Errorf("a row without its chain: %+v", row)
			}
		}
		request.After = page.Next
		if !page.More {
			break
		}
	}
	if diff := cmp.Diff([]string{"a/0", "a/1", "a/2", "a/3", "a/4"}, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	var again []string
	next, err := clients[0].ExportAudit(t.Context(), request, func(page sdk.AuditPage) error {
		for _, row := range page.Items {
			again = append(again, row.Path)
		}
		return nil
	})
	if err != nil || len(again) > 0 || next == "" {
		t.Errorf("the next export has %v, and ends at %q: %v", again, next, err)
	}
}

func TestExportAuditRefuses(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin, nobody := e.admin(t), e.account(t, "production")
	for name, test := range map[string]struct {
		a      account
		body   string
		status int
		code   sdk.Code
	}{
		"who may audit nothing": {nobody, `{}`, http.StatusNotFound, sdk.CodeNotFoundOrDenied},
		"an action of none":     {admin, `{"action":"reed"}`, http.StatusUnprocessableEntity, sdk.CodeInvalid},
		"a position of none":    {admin, `{"after":"x.y"}`, http.StatusBadRequest, sdk.CodeInvalid},
		"two beginnings":        {admin, `{"after":"AQE.","fromNow":true}`, http.StatusBadRequest, sdk.CodeInvalid},
		"too many rows":         {admin, `{"limit":5001}`, http.StatusUnprocessableEntity, sdk.CodeInvalid},
		"an unknown field":      {admin, `{"before":1}`, http.StatusUnprocessableEntity, sdk.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			answer := e.do(t, test.a, http.MethodPost, "/v1/audit/export", test.body)
			if p := answer.problem(t); answer.status != test.status || p.Code != test.code {
				t.Errorf("status %d, code %q: %s", answer.status, p.Code, p.Detail)
			}
		})
	}
}

// TestVerifyAuditStreams a line for each step of a log that takes several, and the report last.
func TestVerifyAuditStreams(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	answer := e.do(t, admin, http.MethodPost, "/v1/audit/verify", "")
	if p := answer.problem(t); p.Code != sdk.CodeNotFoundOrDenied {
		t.Errorf("without audit on sys/audit: %+v", p)
	}
	e.AllowAll(t, admin.caller, "sys/**")
	conn, err := pgx.Connect(t.Context(), e.DSN)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	_, err = conn.Exec(t.Context(), `INSERT INTO audit (id, at, cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version, decision, rule, address, request_id)
		SELECT -n, clock_timestamp(), '', '', '', '', '', '', 'read', 'a/b', 1, 'allowed', '', '', '' FROM generate_series(1, 12000) n`)
	must(t, err)
	report, err := e.client(t, admin).VerifyAudit(t.Context(), nil)
	must(t, err)
	if report.Rows < 12000 || report.Unchained != 12000 || len(report.Findings) != 0 {
		t.Errorf("report: %+v", report)
	}
	answer = e.do(t, admin, http.MethodPost, "/v1/audit/verify", "")
	if got := answer.header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("Content-Type %q", got)
	}
	var last sdk.AuditProgress
	for lines := bufio.NewScanner(strings.NewReader(answer.body)); lines.Scan(); {
		last = sdk.AuditProgress{}
		must(t, json.Unmarshal(lines.Bytes(), &last))
	}
	if last.Report == nil || last.Report.Rows != report.Rows+1 {
		t.Errorf("the last line is %+v", last)
	}
}

// TestActionsAreGenerated: the SDK and the description of the API have the actions of the log.
func TestActionsAreGenerated(t *testing.T) {
	written, err := os.ReadFile(filepath.Join("..", "..", "sdk", "actions.go"))
	must(t, err)
	if !bytes.Equal(written, server.ActionsSource()) {
		t.Error("sdk/actions.go is not what the audit log has: make generate")
	}
	if described := string(server.OpenAPI()); !strings.Contains(described, `"`+string(audit.Actions()[len(audit.Actions())-1])+`"`) {
		t.Error("the description of the API does not have the last action")
	}
}
