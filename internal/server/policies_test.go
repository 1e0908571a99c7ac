package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

func TestPolicies(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	auditor, admin := e.account(t, "production"), e.admin(t)
	pattern, err := policy.ParsePattern("production/*/cards")
	must(t, err)
	ends := time.Date(2126, 1, 31, 12, 0, 0, 0, time.UTC)
	e.AllowRules(t, clusterName, policy.Rule{
		Effect: policy.Deny, Paths: []policy.Pattern{pattern}, Capabilities: []policy.Capability{policy.Read, policy.List}, Environments: []string{"staging"}, ExpiresAt: ends,
		Subjects: policy.Subjects{Users: []string{"alice"}, Groups: []string{"sre"}, ServiceAccounts: []policy.ServiceAccount{{Namespace: "payments", Name: "api", UID: "0ed1"}}},
	})
	e.Allow(t, auditor.caller, "sys/policies", policy.Audit)

	list := decode[sdk.PolicyList](t, e.do(t, auditor, http.MethodGet, "/v1/policies", ""))
	if list.Cluster != clusterName || list.Revision == 0 || time.Since(list.Since) > time.Hour || len(list.Items) != 1 || list.Items[0] != (sdk.PolicySummary{Name: "vaulttest", Rules: 3}) {
		t.Errorf("listed %+v", list)
	}
	shown := decode[sdk.Policy](t, e.do(t, auditor, http.MethodGet, "/v1/policies/show?name=vaulttest", ""))
	if shown.PolicySet != list.PolicySet || shown.Name != "vaulttest" || len(shown.Rules) != 3 {
		t.Fatalf("shown %+v", shown)
	}
	want := sdk.PolicyRule{
		Index: 2, Effect: "Deny", Paths: []string{"production/*/cards"}, Capabilities: []string{"read", "list"}, Environments: []string{"staging"}, ExpiresAt: ends,
		Subjects: sdk.PolicySubjects{Users: []string{"alice"}, Groups: []string{"sre"}, ServiceAccounts: []sdk.PolicyServiceAccount{{Namespace: "payments", Name: "api", UID: "0ed1"}}},
	}
	if diff := cmp.Diff(want, shown.Rules[1]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	missing := e.do(t, auditor, http.MethodGet, "/v1/policies/show?name=none", "").problem(t)
	denied := e.do(t, admin, http.MethodGet, "/v1/policies/show?name=vaulttest", "").problem(t)
	if missing.Status != http.StatusNotFound || missing.Code != sdk.CodeNotFoundOrDenied || denied.Code != missing.Code || denied.Status != missing.Status ||
		strings.ReplaceAll(denied.Detail, "vaulttest", "none") != missing.Detail {
		t.Errorf("denied %+v\nmissing %+v", denied, missing)
	}
	if got := e.do(t, admin, http.MethodGet, "/v1/policies", "").problem(t); got.Code != sdk.CodeNotFoundOrDenied {
		t.Errorf("the list, for who may not see it: %+v", got)
	}
	for _, target := range []string{"/v1/policies/show", "/v1/policies/show?name=", "/v1/policies/show?name=" + strings.Repeat("a", 254)} {
		if got := e.do(t, auditor, http.MethodGet, target, "").problem(t); got.Code != sdk.CodeInvalid {
			t.Errorf("%.40s: %+v", target, got)
		}
	}
}
