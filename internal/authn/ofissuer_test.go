package authn_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/testkit/oidcissuer"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// openIssuers makes a file of content and opens it.
func openIssuers(t *testing.T, content string) *issuers.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "issuers.yaml")
	must(t, os.WriteFile(path, []byte(content), 0o600))
	file, err := issuers.Open(issuers.Options{File: path, Audience: audience})
	must(t, err)
	return file
}

// TestAuthenticateTokensOfAnIssuer: without the API server, which is not asked.
func TestAuthenticateTokensOfAnIssuer(t *testing.T) {
	ci := oidcissuer.Start(t)
	a := authn.New(authn.Options{Audience: audience, Cluster: "east", Namespaces: []string{"payments"}, Issuers: openIssuers(t, ci.Config())})
	token := ci.Token(t, "repo:x", oidcissuer.Claims{"groups": []string{"ops"}})
	want := secret.Caller{Kind: secret.KindUser, Cluster: "east", Name: "ci:repo:x", UID: "repo:x", Groups: []string{"ci:ops"}}
	for range 2 { // the second time it is remembered
		got, err := a.Authenticate(t.Context(), token)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	if !a.Known(token) {
		t.Error("a good token is not known")
	}
	for name, refused := range map[string]string{
		"another audience": ci.Token(t, "repo:x", oidcissuer.Claims{"aud": "vault"}),
		"over the bound":   ci.Token(t, "repo:x", oidcissuer.Claims{"groups": strings.Repeat("a", 16<<10)}),
		"with a newline":   token + "\n",
	} {
		if got, err := a.Authenticate(t.Context(), refused); !errors.Is(err, authn.ErrUnauthenticated) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	ci.Fail()
	away := authn.New(authn.Options{Audience: audience, Issuers: openIssuers(t, ci.Config())})
	if got, err := away.Authenticate(t.Context(), ci.Token(t, "repo:x", nil)); !errors.Is(err, authn.ErrUnavailable) || !strings.Contains(err.Error(), ci.URL) {
		t.Errorf("without the issuer: got %v, %v", got, err)
	}
}

// TestAuthenticateForgetsATokenThatIsOver: it is not remembered beyond its own time.
func TestAuthenticateForgetsATokenThatIsOver(t *testing.T) {
	ci := oidcissuer.Start(t)
	clock := clocktesting.NewFakePassiveClock(time.Now())
	path := filepath.Join(t.TempDir(), "issuers.yaml")
	must(t, os.WriteFile(path, []byte(ci.Config()), 0o600))
	file, err := issuers.Open(issuers.Options{File: path, Audience: audience, Clock: clock})
	must(t, err)
	a := authn.New(authn.Options{Audience: audience, Issuers: file, Clock: clock})
	token := ci.Token(t, "x", oidcissuer.Claims{"exp": clock.Now().Add(5 * time.Second).Unix()})
	_, err = a.Authenticate(t.Context(), token)
	must(t, err)
	clock.SetTime(clock.Now().Add(6 * time.Second))
	if got, err := a.Authenticate(t.Context(), token); !errors.Is(err, authn.ErrUnauthenticated) {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestAuthenticateBesideAnIssuer: tokens of others go to the API server, and whom it knows
// by a name or in a group of the issuer's is nobody.
func TestAuthenticateBesideAnIssuer(t *testing.T) {
	ci, unknown := oidcissuer.Start(t), oidcissuer.Start(t)
	var reviews atomic.Int64
	user := authenticationv1.UserInfo{}
	c := countReviews(t, &reviews, func(status *authenticationv1.TokenReviewStatus) {
		if user.Username != "" {
			status.User = user
		}
	})
	a := authn.New(authn.Options{Client: c, Reader: c, Audience: audience, Cluster: "east", Issuers: openIssuers(t, ci.Config())})
	sa := account(t, c, "production")
	got, err := a.Authenticate(t.Context(), token(t, c, sa, audience))
	must(t, err)
	if diff := cmp.Diff(callerOf(sa, "production"), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got, err := a.Authenticate(t.Context(), unknown.Token(t, "x", nil)); !errors.Is(err, authn.ErrUnauthenticated) || reviews.Load() != 2 {
		t.Errorf("a token of an issuer that is not named: got %v, %v after %d reviews", got, err, reviews.Load())
	}
	_, err = a.Authenticate(t.Context(), ci.Token(t, "x", nil))
	must(t, err)
	if reviews.Load() != 2 {
		t.Error("the API server was asked about a token of the issuer")
	}
	for name, test := range map[string]struct {
		user authenticationv1.UserInfo
		want error
	}{
		"a user":          {authenticationv1.UserInfo{Username: "alice", Groups: []string{"ops"}}, nil},
		"an issuer's":     {authenticationv1.UserInfo{Username: "ci:alice"}, authn.ErrUnauthenticated},
		"in one's groups": {authenticationv1.UserInfo{Username: "alice", Groups: []string{"ops", "ci:ops"}}, authn.ErrUnauthenticated},
	} {
		user = test.user
		if got, err := a.Authenticate(t.Context(), token(t, c, sa, audience)); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}
