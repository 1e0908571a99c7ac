package webhook_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
)

const signingKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="

var (
	loopback = webhook.Limits{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	current  = rotator.Credential{"username": "app", "password": "the-old-one"}
	next     = rotator.Credential{"username": "app", "password": "the-new-one"}
)

// serve answers every request with handler, and returns the rotator that sends them.
func serve(t *testing.T, limits webhook.Limits, handler http.HandlerFunc) rotator.Rotator {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	r, err := webhook.New(webhook.Config{URL: server.URL + "/rotate", TLS: webhook.TLS{CA: string(ca)}}, rotator.Credential{"signingKey": signingKey}, limits)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func named(t *testing.T) context.Context {
	t.Helper()
	return rotator.WithRun(t.Context(), "rotation-7")
}

// seen is a request as a service reads it.
type seen struct {
	ID, Body string
}

func TestStepsAreSignedAndSayWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	verifier, err := standardwebhooks.NewWebhook(signingKey)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []seen
	r := serve(t, loopback, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if err := verifier.Verify(body, req.Header); err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s of %s: %v", req.Method, req.Header.Get("Content-Type"), err)
		}
		if err := verifier.Verify(append(body, ' '), req.Header); err == nil {
			t.Error("the signature is of another body too")
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, seen{req.Header.Get("webhook-id"), string(body)})
		if strings.Contains(string(body), `"create"`) {
			_, _ = io.WriteString(w, `{"next":{"password":"the-new-one"},"more":1}`)
		}
	})
	made, err := r.Create(named(t), rotator.Credential{"username": "app", "password": "the-old-one", "region": "eu"})
	if diff := cmp.Diff(rotator.Credential{"username": "app", "password": "the-new-one", "region": "eu"}, made); err != nil || diff != "" {
		t.Errorf("create: %v %s", err, diff)
	}
	for step, err := range map[string]error{
		"set": r.Set(named(t), current, next), "test": r.Test(named(t), next),
		"finish": r.Finish(named(t), current, next), "revoke": r.Revoke(named(t), current, next),
	} {
		if err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	const before, after = `{"password":"the-old-one","username":"app"}`, `{"password":"the-new-one","username":"app"}`
	want := []seen{
		{"rotation-7-create", `{"step":"create","rotation":"rotation-7","current":{"password":"the-old-one","region":"eu","username":"app"}}`},
		{"rotation-7-set", `{"step":"set","rotation":"rotation-7","current":` + before + `,"next":` + after + `}`},
		{"rotation-7-test", `{"step":"test","rotation":"rotation-7","next":` + after + `}`},
		{"rotation-7-finish", `{"step":"finish","rotation":"rotation-7","previous":` + before + `,"current":` + after + `}`},
		{"rotation-7-revoke", `{"step":"revoke","rotation":"rotation-7","current":` + before + `,"next":` + after + `}`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !rotator.Overlaps(r) {
		t.Error("a webhook overlaps unless its owner says otherwise")
	}
}

func TestStepComesAgainUnderItsName(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	ids := map[string]int{}
	r := serve(t, loopback, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		id := req.Header.Get("webhook-id")
		if ids[id]++; ids[id] < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	if err := r.Set(named(t), current, next); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]int{"rotation-7-set": 3}, ids); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersThatFail(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		body   string
		kind   error
		want   string
	}{
		{"refused", 422, "", rotator.ErrRefused, "it answered 422"},
		{"signature", 401, "", rotator.ErrRights, "does not take the signature"},
		{"gone", 404, "", rotator.ErrSetup, "it answered 404"},
		{"busy", 503, "", rotator.ErrUnreachable, "it answered 503"},
		{"redirect", 307, "", rotator.ErrSetup, "a redirect, and none is followed"},
		{"no JSON", 200, "OK", rotator.ErrSetup, "no JSON such as"},
		{"a number", 200, `{"next":{"password":17}}`, rotator.ErrSetup, "with texts only"},
		{"nothing", 200, `{"next":{}}`, rotator.ErrSetup, "no JSON such as"},
		{"the same", 200, `{"next":{"password":"the-old-one"}}`, rotator.ErrSetup, "the credential that is current"},
		{"a name", 200, `{"next":{"pass/word":"the-new-one"}}`, rotator.ErrSetup, "whose name is not of letters"},
		{"much", 200, `{"next":{"password":"` + strings.Repeat("x", 70_000) + `"}}`, rotator.ErrSetup, "more than 65536 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			calls := 0
			r := serve(t, loopback, func(w http.ResponseWriter, req *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
				if tc.body == "" {
					_, _ = io.Copy(w, req.Body) // an answer that repeats the credential
				}
			})
			_, err := r.Create(named(t), current)
			if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("create says %v, want %v with %q", err, tc.kind, tc.want)
			}
			if strings.Contains(err.Error(), "the-old-one") || strings.Contains(err.Error(), "the-new-one") {
				t.Error("the error holds a password")
			}
			mu.Lock()
			defer mu.Unlock()
			if want := map[bool]int{true: 4, false: 1}[tc.status == 503]; calls != want {
				t.Errorf("%d requests, want %d", calls, want)
			}
		})
	}
}

// TestAddressIsCheckedAtTheDial asks for a server on this host, by address and by a name that leads to it.
func TestAddressIsCheckedAtTheDial(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	t.Cleanup(server.Close)
	for _, url := range []string{server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1)} {
		r, err := webhook.New(webhook.Config{URL: url}, rotator.Credential{"signingKey": signingKey}, webhook.Limits{Hosts: []string{"localhost", "127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Test(named(t), next); !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), "its address is not public") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestRequestsHaveAnEnd(t *testing.T) {
	t.Parallel()
	came := make(chan struct{})
	r := serve(t, loopback, func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body) // without which the server does not see the client go
		close(came)
		<-req.Context().Done()
	})
	ctx, cancel := context.WithCancel(named(t))
	go func() { <-came; cancel() }()
	if err := r.Test(ctx, next); !errors.Is(err, rotator.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("a step that was given up says %v", err)
	}
}

// TestWaitsHaveAnEnd gives a step less time than it would wait between its requests.
func TestWaitsHaveAnEnd(t *testing.T) {
	t.Parallel()
	r := serve(t, loopback, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	ctx, cancel := context.WithTimeout(named(t), 500*time.Millisecond)
	defer cancel()
	if err := r.Test(ctx, next); !errors.Is(err, rotator.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a step that ran out of time says %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	key := rotator.Credential{"signingKey": signingKey}
	for _, tc := range []struct {
		config webhook.Config
		own    rotator.Credential
		want   string
	}{
		{webhook.Config{}, key, "is no address"},
		{webhook.Config{URL: "ftp://example.org"}, key, "is no address"},
		{webhook.Config{URL: "https:///path"}, key, "is no address"},
		{webhook.Config{URL: "https://user:the-password@example.org"}, key, "has a user or a fragment"},
		{webhook.Config{URL: "http://example.org"}, key, "use https"},
		{webhook.Config{URL: "https://example.org", TLS: webhook.TLS{CA: "x"}}, key, "no certificate in PEM"},
		{webhook.Config{URL: "https://example.org"}, nil, `the part "signingKey"`},
		{webhook.Config{URL: "https://example.org"}, rotator.Credential{"signingKey": "whsec_c2hvcnQ="}, "24 to 64 random bytes"},
		{webhook.Config{URL: "https://example.org"}, rotator.Credential{"signingKey": "the-password"}, "24 to 64 random bytes"},
	} {
		_, err := webhook.New(tc.config, tc.own, webhook.Limits{})
		if !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "the-password") {
			t.Errorf("%s: error %v, want %q", tc.config.URL, err, tc.want)
		}
	}
	r, err := webhook.New(webhook.Config{URL: "http://example.org", NoOverlap: true}, key, webhook.Limits{AllowHTTP: true})
	if err != nil || rotator.Overlaps(r) {
		t.Errorf("http, allowed: %v", err)
	}
	if err := r.Test(t.Context(), next); !errors.Is(err, rotator.ErrSetup) {
		t.Errorf("a rotation without a name: %v", err)
	}
	if _, err := json.Marshal(webhook.Config{}); err != nil {
		t.Error(err)
	}
}
