package vault

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// FuzzStoredRules: what can be read of stored policies is all that there is, and comes
// back when it is written again.
func FuzzStoredRules(f *testing.F) {
	for _, s := range []string{
		`[]`, `null`, `{}`, `[{"policy":"p","index":1,"effect":"Allow","paths":["a/**"],"capabilities":["read"],"subjects":{"users":["x"]}}]`,
		`[{"policy":"p","index":1,"effect":"Deny","paths":["**"],"capabilities":["read"],"subjects":{"serviceAccounts":[{"namespace":"*","name":"*"}]},"environments":["p"],"expiresAt":"2026-01-31T08:00:00Z"}]`,
		`[{"paths":["a//b"]}]`, `[{"unknown":1}]`, `[] x`, `[]]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		rules, err := unmarshalRules(store.Policy{Name: "p", Rules: stored})
		if err != nil {
			return
		}
		if !json.Valid(stored) {
			t.Fatalf("%q is read, and more stands there than that", stored)
		}
		text, err := json.Marshal(rules)
		if err != nil {
			return // a year that RFC 3339 does not have
		}
		again, err := unmarshalRules(store.Policy{Name: "p", Rules: text})
		if diff := cmp.Diff(rules, again, cmp.AllowUnexported(policy.Pattern{}, secret.Path{})); err != nil || diff != "" {
			t.Fatalf("%q came back as %q, %v: %s", stored, text, err, diff)
		}
	})
}
