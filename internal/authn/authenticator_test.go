package authn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

const audience = "coffer"

func newAuthenticator(c client.Client, clock clock.PassiveClock) *authn.Authenticator {
	return authn.New(authn.Options{Client: c, Reader: c, Audience: audience, Cluster: "east", DefaultEnvironment: "development", Clock: clock})
}

func TestAuthenticate(t *testing.T) {
	c := newClient(t)
	labelled, unlabelled := account(t, c, "production"), account(t, c, "")
	tests := map[string]struct {
		token string
		want  secret.Caller
	}{
		"service account":         {token(t, c, labelled, audience), callerOf(labelled, "production")},
		"one audience of several": {token(t, c, labelled, "other", audience), callerOf(labelled, "production")},
		"default environment":     {token(t, c, unlabelled, audience), callerOf(unlabelled, "development")},
	}
	a := newAuthenticator(c, nil)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := a.Authenticate(t.Context(), test.token)
			must(t, err)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// Limited to namespaces, accounts of others are refused; users have none.
func TestAuthenticateLimitedToNamespaces(t *testing.T) {
	c := newClient(t)
	inside, outside := account(t, c, "production"), account(t, c, "production")
	a := authn.New(authn.Options{Client: c, Audience: audience, Cluster: "east", Namespaces: []string{"other", inside.Namespace}})
	got, err := a.Authenticate(t.Context(), token(t, c, inside, audience))
	must(t, err)
	if diff := cmp.Diff(callerOf(inside, "production"), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	refused := token(t, c, outside, audience)
	for range 2 { // the second time its review is remembered
		if got, err := a.Authenticate(t.Context(), refused); !errors.Is(err, authn.ErrUnauthenticated) {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

func callerOf(sa *corev1.ServiceAccount, environment string) secret.Caller {
	return secret.Caller{
		Kind: secret.KindServiceAccount, Cluster: "east", Namespace: sa.Namespace, Name: sa.Name,
		UID: string(sa.UID), Environment: environment,
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	c := newClient(t)
	sa := account(t, c, "production")
	good := token(t, c, sa, audience)
	if got, err := newAuthenticator(c, nil).Authenticate(t.Context(), resign(t, good, nil)); err != nil {
		t.Fatalf("a token signed anew, otherwise the same, is refused: %v %v; the tests below would show nothing", got, err)
	}
	parts := strings.Split(good, ".")
	tests := map[string]string{
		"the API server's audience": token(t, c, sa),
		"another audience":          token(t, c, sa, "vault"),
		"part of the audience":      token(t, c, sa, "coffe"),
		"expired": resign(t, good, func(claims map[string]any) {
			claims["exp"] = time.Now().Add(-time.Minute).Unix()
			claims["iat"] = time.Now().Add(-time.Hour).Unix()
			claims["nbf"] = claims["iat"]
		}),
		"of an account that is not there": resign(t, good, func(claims map[string]any) {
			claims["sub"] = "system:serviceaccount:" + sa.Namespace + ":other"
			claims["kubernetes.io"].(map[string]any)["serviceaccount"].(map[string]any)["name"] = "other"
		}),
		"of another UID": resign(t, good, func(claims map[string]any) {
			claims["kubernetes.io"].(map[string]any)["serviceaccount"].(map[string]any)["uid"] = "00000000-0000-0000-0000-000000000000"
		}),
		"without signature":      parts[0] + "." + parts[1] + ".",
		"with a changed payload": parts[0] + "." + parts[1][:len(parts[1])-4] + "AAAA." + parts[2],
		"empty":                  "",
		"not a token":            "hello",
		"with a newline":         good + "\n",
	}
	for name, refused := range tests {
		t.Run(name, func(t *testing.T) {
			caller, err := newAuthenticator(c, nil).Authenticate(t.Context(), refused)
			if !errors.Is(err, authn.ErrUnauthenticated) {
				t.Errorf("got %v, %v", caller, err)
			}
			if err != nil && len(refused) > 20 && strings.Contains(err.Error(), refused) {
				t.Error("the error holds the token")
			}
		})
	}
}

// A deleted account is out when the cache forgets it, and an account made anew under
// its name is another one.
func TestAuthenticateForgetsDeletedAccounts(t *testing.T) {
	c := newClient(t)
	sa := account(t, c, "production")
	old := token(t, c, sa, audience)
	clock := clocktesting.NewFakePassiveClock(time.Now())
	a := newAuthenticator(c, clock)
	if _, err := a.Authenticate(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	clock.SetTime(clock.Now().Add(time.Minute))
	if !a.Known(old) || a.Known("made.up.token") {
		t.Errorf("known: %v, and a made up token %v", a.Known(old), a.Known("made.up.token"))
	}
	must(t, c.Delete(t.Context(), sa))
	renewed := accountIn(t, c, sa.Namespace)
	waitUntilRefused(t, c, old)
	clock.SetTime(clock.Now().Add(10*time.Second + time.Millisecond))
	if caller, err := a.Authenticate(t.Context(), old); !errors.Is(err, authn.ErrUnauthenticated) {
		t.Errorf("the token of the deleted account: got %v, %v", caller, err)
	}
	if a.Known(old) {
		t.Error("a token that is refused is still known")
	}
	got, err := a.Authenticate(t.Context(), token(t, c, renewed, audience))
	must(t, err)
	if got.UID != string(renewed.UID) || got.UID == string(sa.UID) {
		t.Errorf("got UID %s, want that of the account made anew", got.UID)
	}
}

// waitUntilRefused waits for the API server's own cache of tokens.
func waitUntilRefused(t *testing.T, c client.Client, token string) {
	t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-ticker.C {
		if _, err := newAuthenticator(c, nil).Authenticate(t.Context(), token); errors.Is(err, authn.ErrUnauthenticated) {
			return
		}
	}
	t.Fatal("the API server still accepts the token of a deleted account")
}

func TestAuthenticateSeesANewLabelAtOnce(t *testing.T) {
	c := newClient(t)
	sa := account(t, c, "staging")
	bearer := token(t, c, sa, audience)
	a := newAuthenticator(c, nil)
	for _, want := range []string{"staging", "production"} {
		var namespace corev1.Namespace
		must(t, c.Get(t.Context(), client.ObjectKey{Name: sa.Namespace}, &namespace))
		namespace.Labels[vaultv1alpha1.EnvironmentLabel] = want
		must(t, c.Update(t.Context(), &namespace))
		got, err := a.Authenticate(t.Context(), bearer)
		must(t, err)
		if got.Environment != want {
			t.Errorf("got environment %q, want %q", got.Environment, want)
		}
	}
}

// countReviews counts the TokenReviews that go to the API server, and lets change
// their answers.
func countReviews(t *testing.T, count *atomic.Int64, change func(*authenticationv1.TokenReviewStatus)) client.Client {
	t.Helper()
	return interceptor.NewClient(newClient(t), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.CreateOption) error {
			review, ok := object.(*authenticationv1.TokenReview)
			if ok {
				count.Add(1)
			}
			err := c.Create(ctx, object, opts...)
			if ok && change != nil {
				change(&review.Status)
			}
			return err
		},
	})
}

func TestAuthenticateReviewsATokenOnce(t *testing.T) {
	var reviews atomic.Int64
	c := countReviews(t, &reviews, nil)
	good := token(t, c, account(t, c, "production"), audience)
	a := newAuthenticator(c, nil)
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if _, err := a.Authenticate(t.Context(), good); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if got := reviews.Load(); got != 1 {
		t.Errorf("%d reviews of one token", got)
	}
}

// A flood of garbage reaches the API server only so many at a time.
func TestAuthenticateLimitsReviews(t *testing.T) {
	const limit, flood = 32, 100
	var under, most atomic.Int64
	c := interceptor.NewClient(newClient(t), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.CreateOption) error {
			now := under.Add(1)
			defer under.Add(-1)
			for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
			}
			return c.Create(ctx, object, opts...)
		},
	})
	a := newAuthenticator(c, nil)
	var wait sync.WaitGroup
	for i := range flood {
		wait.Go(func() {
			if _, err := a.Authenticate(t.Context(), fmt.Sprint("garbage", i)); !errors.Is(err, authn.ErrUnauthenticated) {
				t.Errorf("got %v", err)
			}
		})
	}
	wait.Wait()
	if most.Load() > limit {
		t.Errorf("%d reviews at a time", most.Load())
	}
}

func TestAuthenticateBelievesOnlyItsAudience(t *testing.T) {
	var reviews atomic.Int64
	c := countReviews(t, &reviews, func(status *authenticationv1.TokenReviewStatus) { status.Audiences = nil })
	good := token(t, c, account(t, c, "production"), audience)
	if caller, err := newAuthenticator(c, nil).Authenticate(t.Context(), good); !errors.Is(err, authn.ErrUnauthenticated) {
		t.Errorf("a review that names no audience: got %v, %v", caller, err)
	}
}

func TestAuthenticateSharesNoGroups(t *testing.T) {
	var reviews atomic.Int64
	c := countReviews(t, &reviews, func(status *authenticationv1.TokenReviewStatus) {
		status.User = authenticationv1.UserInfo{Username: "alice", Groups: []string{"sre", "admins"}}
	})
	good := token(t, c, account(t, c, ""), audience)
	a := newAuthenticator(c, nil)
	first, err := a.Authenticate(t.Context(), good)
	must(t, err)
	first.Groups[0] = "changed"
	second, err := a.Authenticate(t.Context(), good)
	must(t, err)
	want := secret.Caller{Kind: secret.KindUser, Cluster: "east", Name: "alice", Groups: []string{"sre", "admins"}}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAuthenticateWithoutAPIServer(t *testing.T) {
	nobody, err := client.New(&rest.Config{Host: "https://127.0.0.1:1"}, client.Options{Mapper: newClient(t).RESTMapper()})
	must(t, err)
	if _, err := newAuthenticator(nobody, nil).Authenticate(t.Context(), "token"); !errors.Is(err, authn.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestAuthenticateEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	c := interceptor.NewClient(newClient(t), interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			cancel()
			<-release
			return nil
		},
	})
	if _, err := newAuthenticator(c, nil).Authenticate(ctx, "token"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// resign returns token with changed claims, signed with the API server's own key.
func resign(t *testing.T, token string, change func(claims map[string]any)) string {
	t.Helper()
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var claims map[string]any
	must(t, json.Unmarshal(payload, &claims))
	claims["jti"] = rand.Text()
	if change != nil {
		change(claims)
	}
	payload, err = json.Marshal(claims)
	must(t, err)
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, signingKey(t), digest[:])
	must(t, err)
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...) // ES256, RFC 7518
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func signingKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(scratch, "*", "certs", "sa-signer.key"))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("found keys %v", files)
	}
	text, err := os.ReadFile(files[0])
	must(t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	return key.(*ecdsa.PrivateKey)
}
