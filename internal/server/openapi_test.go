package server_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/server"
)

var update = flag.Bool("update", false, "write the description of the API to docs/reference/openapi.json")

// A change of the API shows as a change of the committed description, for a reviewer
// to see: run the test with -update when it is meant.
func TestOpenAPI(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "reference", "openapi.json")
	got := server.OpenAPI()
	if *update {
		must(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the API is not as described; if the change is meant: go test ./internal/server -run TestOpenAPI -update\n(-described +is)\n%s", diff)
	}
}

func TestOpenAPIDescribesEveryOperation(t *testing.T) {
	var description struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Responses   map[string]any
			RequestBody any
			Security    []any
		}
	}
	must(t, json.Unmarshal(server.OpenAPI(), &description))
	if !strings.HasPrefix(description.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", description.OpenAPI)
	}
	var operations []string
	for path, methods := range description.Paths {
		for method, operation := range methods {
			operations = append(operations, strings.ToUpper(method)+" "+path)
			if operation.OperationID == "" || operation.Summary == "" || len(operation.Responses) == 0 {
				t.Errorf("%s %s is not described: %+v", method, path, operation)
			}
			if open := operation.Security != nil && len(operation.Security) == 0; open == strings.HasPrefix(path, "/v1/") {
				t.Errorf("%s %s needs no token: %v", method, path, open)
			}
			var statuses []string
			if strings.HasPrefix(path, "/v1/") {
				statuses = append(statuses, "401", "404", "503")
			}
			if operation.RequestBody != nil {
				statuses = append(statuses, "400", "408", "413", "415")
			}
			for _, status := range statuses {
				if operation.Responses[status] == nil {
					t.Errorf("%s %s is not described with the status %s", method, path, status)
				}
			}
		}
	}
	slices.Sort(operations)
	want := []string{
		"DELETE /v1/keyring/keys/{id}", "DELETE /v1/secret", "GET /livez", "GET /openapi.json", "GET /readyz", "GET /v1/audit", "GET /v1/consumers", "GET /v1/explain", "GET /v1/keyring", "GET /v1/leak", "GET /v1/policies", "GET /v1/policies/show", "GET /v1/rotation", "GET /v1/rotation/overdue", "GET /v1/rotations", "GET /v1/rotations/show", "GET /v1/secret",
		"GET /v1/secret/metadata", "GET /v1/secret/versions", "GET /v1/secrets", "GET /v1/watch", "GET /v1/whoami", "PATCH /v1/secret", "PATCH /v1/secret/properties", "POST /v1/audit/export", "POST /v1/audit/verify", "POST /v1/backup", "POST /v1/consumers/forget", "POST /v1/keyring/keys",
		"POST /v1/keyring/keys/{id}/promote", "POST /v1/keyring/keys/{id}/retire", "POST /v1/keyring/rewrap", "POST /v1/leak",
		"POST /v1/notifications/test", "POST /v1/rotations/approve", "POST /v1/rotations/cancel", "POST /v1/rotations/run",
		"POST /v1/secret/destroy", "POST /v1/secret/promote", "POST /v1/secret/rollback", "POST /v1/secret/rotate", "POST /v1/secret/undelete",
		"POST /v1/secret/versions/delete", "POST /v1/secret/versions/destroy", "POST /v1/secret/versions/undelete", "PUT /v1/secret",
	}
	if diff := cmp.Diff(want, operations); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
