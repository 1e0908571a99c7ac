package server_test

import (
	"net/http"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

func TestPatchProperties(t *testing.T) {
	e := startByToken(t, vaulttest.Start(t), nil, nil)
	writer := e.token("writer", t)
	e.Allow(t, writer.caller, "**", policy.Write)
	e.Put(t, "a/b", `{"user":"app","n":12345678901234567890}`)
	e.Put(t, "a/raw", "raw")
	patch := func(path, body string) answer {
		return e.do(t, writer, http.MethodPatch, at("/v1/secret/properties", path), body)
	}
	m := decode[sdk.Metadata](t, patch("a/b", `{"properties":{"user":null,"password":"x","big":98765432109876543210.5},"expectedVersion":1}`))
	if m.Version != 2 {
		t.Errorf("version %d", m.Version)
	}
	reader := e.token("reader", t, "a/b")
	got := decode[sdk.Secret](t, e.do(t, reader, http.MethodGet, at("/v1/secret", "a/b"), ""))
	if want := `{"big":98765432109876543210.5,"n":12345678901234567890,"password":"x"}`; string(got.Value) != want {
		t.Errorf("the value is %s, want %s", got.Value, want)
	}
	for name, test := range map[string]struct {
		path, body string
		status     int
		code       sdk.Code
	}{
		"another version":   {"a/b", `{"properties":{"a":"b"},"expectedVersion":1}`, 409, sdk.CodeConflict},
		"raw value":         {"a/raw", `{"properties":{"a":"b"}}`, 400, sdk.CodeInvalid},
		"no such path":      {"a/c", `{"properties":{"a":"b"}}`, 404, sdk.CodeNotFoundOrDenied},
		"no properties":     {"a/b", `{"properties":{}}`, 422, sdk.CodeInvalid},
		"nothing":           {"a/b", `{}`, 422, sdk.CodeInvalid},
		"no object":         {"a/b", `{"properties":["a"]}`, 422, sdk.CodeInvalid},
		"null":              {"a/b", `{"properties":null}`, 422, sdk.CodeInvalid},
		"unknown field":     {"a/b", `{"properties":{"a":"b"},"value":"eA=="}`, 422, sdk.CodeInvalid},
		"path that is none": {"a//b", `{"properties":{"a":"b"}}`, 400, sdk.CodeInvalid},
	} {
		if p := patch(test.path, test.body).problem(t); p.Status != test.status || p.Code != test.code {
			t.Errorf("%s: %d %s, want %d %s", name, p.Status, p.Code, test.status, test.code)
		}
	}
}
