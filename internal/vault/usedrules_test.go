package vault_test

import (
	"fmt"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestListsAndSearchesSayWhatAllowedThem: the audit row of what shows many entries names the rules that allowed one of them.
func TestListsAndSearchesSayWhatAllowedThem(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	ctx := t.Context()
	api := vaulttest.ServiceAccount("payments", "api", "production")
	for n := range 7 { // rules 1 to 7
		env.Allow(t, api, fmt.Sprintf("p%d/**", n+1), policy.List, policy.Audit)
		for _, name := range []string{"x", "y"} {
			env.Put(t, fmt.Sprintf("p%d/%s", n+1, name), "v")
		}
	}
	env.Put(t, "none/x", "v")
	env.Allow(t, api, "none/**", policy.Read) // no rule of a list
	prefix := func(s string) secret.Prefix {
		p, err := secret.ParsePrefix(s)
		must(t, err)
		return p
	}
	list := func(below string, limit int) func() error {
		return func() error {
			_, err := env.Engine.List(ctx, api, prefix(below), secret.Path{}, limit)
			return err
		}
	}
	search := func(q audit.Query) func() error {
		return func() error {
			_, _, err := env.Engine.Audit(ctx, api, q)
			return err
		}
	}
	const five = "VaultPolicy vaulttest rule 1, VaultPolicy vaulttest rule 2, VaultPolicy vaulttest rule 3, VaultPolicy vaulttest rule 4, VaultPolicy vaulttest rule 5"
	const newest = "VaultPolicy vaulttest rule 7, VaultPolicy vaulttest rule 6, VaultPolicy vaulttest rule 5, VaultPolicy vaulttest rule 4, VaultPolicy vaulttest rule 3"
	for _, c := range []struct {
		name   string
		do     func() error
		action audit.Action
		want   string
	}{
		{"a list of all", list("", 0), audit.List, five + " and 2 more"},
		{"a list of some", list("", 3), audit.List, "VaultPolicy vaulttest rule 1, VaultPolicy vaulttest rule 2"},
		{"a list of one rule's", list("p3", 0), audit.List, "VaultPolicy vaulttest rule 3"},
		{"a list of nothing", list("none", 0), audit.List, "nothing was shown"},
		{"a search of all", search(audit.Query{Action: audit.Put}), audit.Audit, newest + " and 2 more"},
		{"a search of one rule's", search(audit.Query{PathPrefix: "p2/", Action: audit.Put}), audit.Audit, "VaultPolicy vaulttest rule 2"},
		{"a search that finds nothing", search(audit.Query{PathPrefix: "p2/", Action: audit.Destroy}), audit.Audit, "VaultPolicy vaulttest rule 2"},
		{"a further page that shows nothing", search(audit.Query{PathPrefix: "none/", Before: 1}), audit.Audit, "nothing was shown"},
		{"an export", func() error {
			_, err := env.Engine.ExportAudit(ctx, api, audit.ExportQuery{Query: audit.Query{PathPrefix: "p2/"}})
			return err
		}, audit.Export, "VaultPolicy vaulttest rule 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			must(t, c.do())
			got := lastAudit(t, env)
			if got.Action != c.action || got.Decision != audit.Allowed || got.Rule != c.want {
				t.Errorf("audit row: %+v; want the rule %q", got, c.want)
			}
		})
	}
	wantError(t, search(audit.Query{PathPrefix: "none/"})(), secret.ErrDenied)
	if got := lastAudit(t, env); got.Decision != audit.Denied || got.Rule != "nothing allows it" {
		t.Errorf("audit row of a denied search: %+v", got)
	}
}
