package sdk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/coffer-vault/coffer/sdk"
)

// TestVerifyAuditReadsTheStream to its last line; one that breaks off is no report.
func TestVerifyAuditReadsTheStream(t *testing.T) {
	for name, test := range map[string]struct {
		lines string
		code  sdk.Code
		rows  int64
	}{
		"a report":       {`{"rows":5,"remaining":5}` + "\n" + `{"rows":9,"report":{"rows":9,"findings":[]}}`, "", 9},
		"a failure":      {`{"rows":5}` + "\n" + `{"rows":0,"failure":{"status":503,"code":"unavailable","detail":"why"}}`, sdk.CodeUnavailable, 0},
		"breaks off":     {`{"rows":5}` + "\n", sdk.CodeUnavailable, 0},
		"half a line":    {`{"rows":5,"rem`, sdk.CodeUnavailable, 0},
		"not an answer":  {`<html>`, sdk.CodeUnavailable, 0},
		"nothing at all": {``, sdk.CodeUnavailable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, test.lines) })
			var heard int64
			report, err := client.VerifyAudit(t.Context(), func(rows, remaining int64) { heard = rows + remaining })
			if sdk.CodeOf(err) != test.code || report.Rows != test.rows {
				t.Errorf("%+v, %v", report, err)
			}
			if name == "a report" && heard != 10 {
				t.Errorf("progress says %d", heard)
			}
		})
	}
}

// TestExportAuditGoesOnWhereItStopped after an error of the server or of its reader.
func TestExportAuditGoesOnWhereItStopped(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var after string
		var request sdk.AuditExportRequest
		must(t, json.NewDecoder(r.Body).Decode(&request))
		if after = request.After; after == "p2" {
			problem(w, http.StatusInternalServerError, sdk.CodeInternal)
			return
		}
		next := map[string]string{"": "p1", "p1": "p2"}[after]
		_, _ = fmt.Fprintf(w, `{"items":[],"next":%q,"more":true}`, next)
	})
	next, err := client.ExportAudit(t.Context(), sdk.AuditExportRequest{}, func(sdk.AuditPage) error { return nil })
	if next != "p2" || sdk.CodeOf(err) != sdk.CodeInternal {
		t.Errorf("stopped at %q: %v", next, err)
	}
	errFull := errors.New("disk full")
	next, err = client.ExportAudit(t.Context(), sdk.AuditExportRequest{After: "p1"}, func(sdk.AuditPage) error { return errFull })
	if next != "p1" || !errors.Is(err, errFull) {
		t.Errorf("stopped at %q: %v", next, err)
	}
}
