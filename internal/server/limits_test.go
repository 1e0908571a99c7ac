package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// TestLimitsThroughTheSDK puts the largest value and one byte more, raw and as
// properties, and the longest paths and longer ones.
func TestLimitsThroughTheSDK(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	client, err := sdk.New(sdk.Config{Address: e.url, Token: e.admin(t).token})
	must(t, err)
	properties := func(size int) []byte {
		const frame = `{"a":""}`
		return []byte(strings.Replace(frame, `""`, `"`+strings.Repeat("v", size-len(frame))+`"`, 1))
	}
	for name, value := range map[string]func(size int) []byte{
		"raw":        func(size int) []byte { return bytes.Repeat([]byte{0xff}, size) },
		"properties": properties,
	} {
		largest := value(secret.MaxValueBytes)
		if len(largest) != secret.MaxValueBytes {
			t.Fatalf("%s: the test's value has %d bytes", name, len(largest))
		}
		_, err := client.Put(t.Context(), "limits/"+name, sdk.PutRequest{Value: largest})
		must(t, err)
		got, err := client.Get(t.Context(), "limits/"+name)
		must(t, err)
		if !bytes.Equal(got.Value, largest) {
			t.Errorf("%s: another value came back", name)
		}
		_, err = client.Put(t.Context(), "limits/"+name, sdk.PutRequest{Value: value(secret.MaxValueBytes + 1)})
		if sdk.CodeOf(err) != sdk.CodeTooLarge || !strings.Contains(fmt.Sprint(err), "1048577 bytes; at most 1048576") {
			t.Errorf("%s, a byte more: %v", name, err)
		}
		if m, err := client.Metadata(t.Context(), "limits/"+name); err != nil || m.Version != 1 {
			t.Errorf("%s: the refused write left version %d, %v", name, m.Version, err)
		}
	}
}

// TestPathLimits asks every kind of route for the longest paths and for longer ones.
func TestPathLimits(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	segments := func(n int) string { return strings.TrimSuffix(strings.Repeat("a/", n), "/") }
	for name, test := range map[string]struct {
		path string
		says string // empty when it is taken
	}{
		"1 segment":             {"a", ""},
		"16 segments":           {segments(16), ""},
		"17 segments":           {segments(17), "it has 17 segments; at most 16 are allowed"},
		"512 bytes":             {strings.Repeat("b", 512), ""},
		"512 bytes, 2 segments": {strings.Repeat("b", 255) + "/" + strings.Repeat("c", 256), ""},
		"513 bytes":             {strings.Repeat("b", 513), "it has 513 bytes; at most 512 are allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, ask := range []struct{ method, route, body string }{
				{http.MethodPut, "/v1/secret", putBody(t, "v")},
				{http.MethodPost, "/v1/secret/rotate", putBody(t, "v")},
				{http.MethodPatch, "/v1/secret", `{"description":"d"}`},
				{http.MethodGet, "/v1/secret", ""},
				{http.MethodGet, "/v1/secret/versions", ""},
				{http.MethodGet, "/v1/explain", ""},
				{http.MethodDelete, "/v1/secret", ""},
			} {
				got := e.do(t, admin, ask.method, at(ask.route, test.path), ask.body)
				if test.says == "" {
					if got.status >= 300 {
						t.Errorf("%s %s: status %d", ask.method, ask.route, got.status)
					}
					continue
				}
				if p := got.problem(t); got.status != http.StatusUnprocessableEntity && got.status != http.StatusBadRequest ||
					p.Code != sdk.CodeInvalid || !strings.Contains(got.body, test.says) {
					t.Errorf("%s %s: status %d, %s", ask.method, ask.route, got.status, got.body)
				}
			}
		})
	}
}
