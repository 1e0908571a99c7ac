package main

import (
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/rotatortest"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
)

const signingKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="

// TestExampleRotates holds the example, behind the real rotator, to what every rotator promises.
func TestExampleRotates(t *testing.T) {
	s, err := newService(signingKey)
	if err != nil {
		t.Fatal(err)
	}
	s.accepted["first"] = true
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	config := webhook.Config{URL: server.URL, TLS: webhook.TLS{
		CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
	}}
	limits := webhook.Limits{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	r, err := webhook.New(config, rotator.Credential{"signingKey": signingKey}, limits)
	if err != nil {
		t.Fatal(err)
	}
	rotatortest.Run(t, rotatortest.System{Rotator: r, First: rotator.Credential{"password": "first"}, LogsIn: func(c rotator.Credential) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.accepted[c["password"]]
	}})

	stranger, err := webhook.New(config, rotator.Credential{"signingKey": "whsec_" + strings.Repeat("AAAA", 8)}, limits)
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Test(rotator.WithRun(t.Context(), "x"), rotator.Credential{"password": "first"}); !errors.Is(err, rotator.ErrRights) {
		t.Errorf("a request with another's signature: %v", err)
	}
}

// TestPageShowsTheExample compares the page's code with the file.
func TestPageShowsTheExample(t *testing.T) {
	code, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../webhook-rotator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(code), "type credential ")
	if !strings.Contains(string(page), "type credential "+shown) {
		t.Error("docs/reference/webhook-rotator.md does not show what main.go has from the type credential on")
	}
}
