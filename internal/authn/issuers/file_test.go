package issuers_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/testkit/oidcissuer"
)

// TestAChangedFileIsTakenUp: without a restart, and an issuer that stays keeps its keys.
func TestAChangedFileIsTakenUp(t *testing.T) {
	ci, cloud := oidcissuer.Start(t), oidcissuer.Start(t)
	e := open(t, ci.Config())
	e.wantGood(t, ci.Token(t, "x", nil))
	if e.For(t.Context(), cloud.Token(t, "x", nil)) != nil {
		t.Fatal("an issuer that the file does not name is known")
	}
	e.write(t, ci.Config()+cloud.Entry("cloud:"))
	e.pass(time.Second)
	e.wantGood(t, cloud.Token(t, "x", nil))
	e.wantGood(t, ci.Token(t, "x", nil))
	if got := ci.Fetches(); got != 1 {
		t.Errorf("the keys of an issuer that stayed were fetched %d times", got)
	}
	e.write(t, ci.Config("  claimValidationRules:", "  - {claim: owner, requiredValue: example}"))
	e.pass(time.Second)
	e.wantErr(t, ci.Token(t, "x", nil), issuers.ErrRefused)
	if e.For(t.Context(), cloud.Token(t, "x", nil)) != nil {
		t.Error("an issuer that was taken out is still known")
	}
}

// TestAFileThatCannotBeUsedChangesNothing: it is logged once, and so is its mending.
func TestAFileThatCannotBeUsedChangesNothing(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, ci.Config())
	look := func() {
		e.pass(time.Second)
		e.wantGood(t, ci.Token(t, "x", nil))
	}
	e.write(t, strings.Replace(ci.Config(), `"ci:"`, `""`, 1))
	look()
	look()
	if err := os.Remove(e.path); err != nil {
		t.Fatal(err)
	}
	look()
	if got := strings.Count(e.log.String(), "cannot be used"); got != 1 {
		t.Errorf("the log says %d times that the file cannot be used: %s", got, e.log)
	}
	e.write(t, ci.Config())
	look()
	if got := strings.Count(e.log.String(), "took up"); got != 1 {
		t.Errorf("the log says %d times that the file was taken up: %s", got, e.log)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	const url = "    url: https://issuer.example.com\n"
	good := "apiVersion: vault.coffer.dev/v1alpha1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n" + url +
		"  claimMappings:\n    username: {claim: sub, prefix: 'ci:'}\n"
	second := func(url, prefix string) string {
		return good + "- issuer: {url: '" + url + "'}\n  claimMappings:\n    username: {claim: sub, prefix: '" + prefix + "'}\n"
	}
	groups := good + "    groups: {claim: groups, prefix: 'ci:'}\n"
	replace := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	open(t, good)
	open(t, groups)
	tests := map[string]struct{ content, want string }{
		"nothing":                {"", "write apiVersion: vault.coffer.dev/v1alpha1 and kind: AuthenticationConfiguration"},
		"not YAML":               {"{", "--oidc-config"},
		"Kubernetes' own":        {replace("vault.coffer.dev/v1alpha1", "apiserver.config.k8s.io/v1"), "write apiVersion"},
		"unknown field":          {good + "    uid: {claim: sub}\n", `unknown field "uid"`},
		"a field twice":          {good + "    username: {claim: sub, prefix: 'x:'}\n", "already set"},
		"no URL":                 {replace(url, "    audiences: [coffer]\n"), "jwt[0].issuer.url: it is missing"},
		"http":                   {replace("https:", "http:"), "jwt[0].issuer.url: it is not https"},
		"a file":                 {replace("https://issuer.example.com", "file:///etc/passwd"), "it is not https"},
		"a user":                 {replace("https://", "https://a:b@"), "not a plain URL"},
		"a query":                {replace(".com", ".com?a=b"), "not a plain URL"},
		"no host":                {replace("issuer.example.com", ""), "not a plain URL"},
		"unreadable":             {replace("issuer.example.com", "[::1"), "cannot be read"},
		"empty audience":         {replace(url, url+"    audiences: ['']\n"), "jwt[0].issuer.audiences: one is empty"},
		"no certificate":         {replace(url, url+"    certificateAuthority: hello\n"), "holds no PEM certificate"},
		"rule without a value":   {good + "  claimValidationRules: [{claim: owner}]\n", "jwt[0].claimValidationRules[0]: write a claim and its requiredValue"},
		"no username":            {replace("username: {claim: sub, prefix: 'ci:'}", "groups: {claim: groups, prefix: 'ci:'}"), "jwt[0].claimMappings.username: claim: it is missing"},
		"no prefix":              {replace(", prefix: 'ci:'", ""), `jwt[0].claimMappings.username: prefix: it is ""`},
		"prefix without a colon": {replace("ci:", "ci"), "ends with a colon"},
		"prefix of a colon":      {replace("ci:", ":"), "ends with a colon"},
		"prefix of Kubernetes":   {replace("'ci:'", "'system:'"), "are those of Kubernetes"},
		"of its accounts":        {replace("'ci:'", "'system:serviceaccount:'"), "are those of Kubernetes"},
		"groups of Kubernetes":   {strings.Replace(groups, "claim: groups, prefix: 'ci:'", "claim: groups, prefix: 'system:'", 1), "jwt[0].claimMappings.groups: prefix: names"},
		"groups without prefix":  {strings.Replace(groups, "claim: groups, prefix: 'ci:'", "claim: groups", 1), "jwt[0].claimMappings.groups: prefix"},
		"an issuer twice":        {second("https://issuer.example.com", "x:"), "jwt[1].issuer.url: jwt[0] is the same issuer"},
		"a prefix twice":         {second("https://other.example.com", "ci:"), "jwt[1].claimMappings.username.prefix: users of jwt[0]"},
		"a prefix in another":    {second("https://other.example.com", "ci:x:"), "users of jwt[0] could have the same names"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "issuers.yaml")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := issuers.Open(issuers.Options{File: path, Audience: "coffer"})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
	if _, err := issuers.Open(issuers.Options{File: "/nonexistent"}); err == nil || !strings.Contains(err.Error(), "--oidc-config") {
		t.Errorf("a file that is not there: %v", err)
	}
}
