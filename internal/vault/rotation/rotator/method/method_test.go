package method_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/method"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// nobody reads nothing: it fails the test.
func nobody(t *testing.T) method.Reader {
	return func(_ context.Context, path secret.Path) (rotator.Credential, error) {
		t.Errorf("somebody reads %s", path)
		return nil, errors.New("nothing there")
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ kind, settings, want string }{
		{"oracle", `{}`, `there is no method "oracle"; there are generate, postgres, mysql, redis and webhook`},
		{"postgres", `{"hots":"db"}`, `unknown field "hots"`},
		{"postgres", ``, "cannot be read"},
		{"postgres", `{} {}`, "something follows"},
		{"postgres", `{"host":"db","database":"shop","role":"app"}`, "credential names the secret"},
		{"postgres", `{"credential":"a/b","host":"db","database":"shop"}`, "give either role or alternatingRoles"},
		{"mysql", `{"credential":"a/b"}`, "give the host of MariaDB or MySQL"},
		{"redis", `{"credential":"a/b"}`, "give the addresses of Redis"},
		{"webhook", `{"credential":"a/b","url":"http://example.org"}`, "use https"},
		{"generate", `{}`, "names 0 things to make"},
		{"generate", `{"keyPair":{},"property":"key"}`, "property is for a password or a UUID"},
		{"generate", `{"password":{},"authority":"a/b"}`, "an authority signs certificates"},
	} {
		err := method.Methods{}.Check(tc.kind, json.RawMessage(tc.settings))
		if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, rotator.ErrSetup) && !errors.Is(err, generate.ErrSpec) {
			t.Errorf("%s %s: error %v, want %q", tc.kind, tc.settings, err, tc.want)
		}
		if _, err := (method.Methods{}).New(t.Context(), tc.kind, json.RawMessage(tc.settings), nobody(t)); err == nil {
			t.Errorf("%s %s: New makes one all the same", tc.kind, tc.settings)
		}
	}
}

// TestGuideShowsSettings checks every example of the guide, and makes its rotator.
func TestGuideShowsSettings(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../../../../docs/guides/rotators.md")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, match := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(guide, -1) {
		var m struct {
			Kind     string
			Settings json.RawMessage
		}
		if err := json.Unmarshal(match[1], &m); err != nil {
			t.Fatalf("%s: %v", match[1], err)
		}
		read := ""
		_, err := method.Methods{}.New(t.Context(), m.Kind, m.Settings, func(_ context.Context, path secret.Path) (rotator.Credential, error) {
			read = path.String()
			return rotator.Credential{"username": "u", "password": "p", "signingKey": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="}, nil
		})
		if err != nil || read == "" && m.Kind != method.Generate {
			t.Errorf("%s: %v, having read %q", match[1], err, read)
		}
		kinds = append(kinds, m.Kind)
	}
	for _, kind := range []string{method.Generate, method.Postgres, method.MySQL, method.Redis, method.Webhook} {
		if !slices.Contains(kinds, kind) {
			t.Errorf("the guide shows no settings of %s", kind)
		}
	}
}

func TestGeneratedValues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, settings string
		current        rotator.Credential
		want           []string // the names of the parts, sorted
	}{
		{"a password beside others", `{"password":{}}`, rotator.Credential{"password": "old", "user": "app"}, []string{"password", "user"}},
		{"another property", `{"password":{},"property":"token"}`, rotator.Credential{"user": "app"}, []string{"token", "user"}},
		{"one value", `{"uuid":{}}`, rotator.Credential{secret.RawKey: "old"}, []string{secret.RawKey}},
		{"a key pair", `{"keyPair":{}}`, nil, []string{"privateKey", "publicKey"}},
	} {
		r, err := method.Methods{}.New(t.Context(), method.Generate, json.RawMessage(tc.settings), nobody(t))
		if err != nil {
			t.Fatal(err)
		}
		next, err := r.Create(t.Context(), tc.current)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for name := range next {
			names = append(names, name)
		}
		slices.Sort(names)
		if !slices.Equal(names, tc.want) {
			t.Errorf("%s: the parts are %s, want %s", tc.name, names, tc.want)
		}
		if next["user"] != tc.current["user"] || slices.Contains([]string{next["password"], next[secret.RawKey]}, "old") {
			t.Errorf("%s: a part was not kept, or not replaced", tc.name)
		}
		for step, err := range map[string]error{
			"set": r.Set(t.Context(), tc.current, next), "test": r.Test(t.Context(), next),
			"finish": r.Finish(t.Context(), tc.current, next), "revoke": r.Revoke(t.Context(), tc.current, next),
		} {
			if err != nil {
				t.Errorf("%s: %s: %v", tc.name, step, err)
			}
		}
	}
}

func TestAuthorityIsRead(t *testing.T) {
	t.Parallel()
	settings := json.RawMessage(`{"certificate":{"commonName":"db"},"authority":"platform/ca"}`)
	gone := errors.New("it is gone")
	_, err := method.Methods{}.New(t.Context(), method.Generate, settings, func(context.Context, secret.Path) (rotator.Credential, error) { return nil, gone })
	if !errors.Is(err, gone) || !strings.Contains(err.Error(), "platform/ca") {
		t.Errorf("an authority that cannot be read: %v", err)
	}
	_, err = method.Methods{}.New(t.Context(), method.Generate, settings, func(context.Context, secret.Path) (rotator.Credential, error) {
		return rotator.Credential{"certificate": "none"}, nil
	})
	if !errors.Is(err, generate.ErrSpec) {
		t.Errorf("an authority that is none: %v", err)
	}
}

func TestCertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	open := func(settings string) (rotator.Rotator, rotator.Renewer) {
		r, err := method.Methods{}.New(t.Context(), method.Generate, json.RawMessage(settings), nobody(t))
		if err != nil {
			t.Fatal(err)
		}
		return r, r.(rotator.Renewer)
	}
	r, renewer := open(`{"certificate":{"commonName":"db","lifetime":"3h","renewBefore":"1h"}}`)
	before := time.Now().Truncate(time.Second) // as certificates do
	next, err := r.Create(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	at, ends, err := renewer.RenewAt(next)
	if err != nil || !ends || at.Before(before.Add(2*time.Hour)) || at.After(time.Now().Add(2*time.Hour)) {
		t.Errorf("renewed at %v (%v), %v; want two hours after %v", at, ends, err, before)
	}
	if _, _, err := renewer.RenewAt(rotator.Credential{"certificate": "none"}); !errors.Is(err, generate.ErrSpec) {
		t.Errorf("a certificate that is none: %v", err)
	}
	_, password := open(`{"password":{}}`)
	if _, ends, err := password.RenewAt(nil); ends || err != nil {
		t.Errorf("a password ends: %v, %v", ends, err)
	}
}
