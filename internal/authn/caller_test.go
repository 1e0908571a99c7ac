package authn

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func TestCallerOf(t *testing.T) {
	tests := map[string]struct {
		user authenticationv1.UserInfo
		want secret.Caller
	}{
		"service account": {
			authenticationv1.UserInfo{Username: "system:serviceaccount:payments:api", UID: "u1", Groups: []string{"system:serviceaccounts"}},
			secret.Caller{Kind: secret.KindServiceAccount, Cluster: "east", Namespace: "payments", Name: "api", UID: "u1"},
		},
		"user": {
			authenticationv1.UserInfo{Username: "alice", UID: "u2", Groups: []string{"sre"}},
			secret.Caller{Kind: secret.KindUser, Cluster: "east", Name: "alice", UID: "u2", Groups: []string{"sre"}},
		},
		"a component of Kubernetes is a user": {
			authenticationv1.UserInfo{Username: "system:policy-sync"},
			secret.Caller{Kind: secret.KindUser, Cluster: "east", Name: "system:policy-sync"},
		},
		"the longest name and UID": {
			authenticationv1.UserInfo{Username: strings.Repeat("é", maxIdentity/2), UID: strings.Repeat("u", maxIdentity)},
			secret.Caller{Kind: secret.KindUser, Cluster: "east", Name: strings.Repeat("é", maxIdentity/2), UID: strings.Repeat("u", maxIdentity)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := callerOf("east", test.user)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestCallerOfRefusesWhoIsNobody(t *testing.T) {
	tests := map[string]authenticationv1.UserInfo{
		"no name":                   {UID: "u"},
		"anonymous":                 {Username: "system:anonymous"},
		"unauthenticated":           {Username: "alice", Groups: []string{"system:unauthenticated"}},
		"account without namespace": {Username: "system:serviceaccount::api", UID: "u"},
		"account without name":      {Username: "system:serviceaccount:payments:", UID: "u"},
		"account without colon":     {Username: "system:serviceaccount:payments", UID: "u"},
		"account with more colons":  {Username: "system:serviceaccount:payments:api:x", UID: "u"},
		"account with a slash":      {Username: "system:serviceaccount:payments/api:x", UID: "u"},
		"account with a wildcard":   {Username: "system:serviceaccount:*:api", UID: "u"},
		"account without UID":       {Username: "system:serviceaccount:payments:api"},
		"user with a NUL":           {Username: "ali\x00ce"},
		"user of broken UTF-8":      {Username: "ali\xffce"},
		"UID with a NUL":            {Username: "alice", UID: "\x00"},
		"user of a long name":       {Username: strings.Repeat("a", maxIdentity+1)},
		"user of a long UID":        {Username: "alice", UID: strings.Repeat("a", maxIdentity+1)},
		"UID of broken UTF-8":       {Username: "alice", UID: "\xff"},
		"account of a long name":    {Username: "system:serviceaccount:payments:" + strings.Repeat("a", maxIdentity), UID: "u"},
		"account with a NUL":        {Username: "system:serviceaccount:payments:a\x00pi", UID: "u"},
	}
	for name, user := range tests {
		t.Run(name, func(t *testing.T) {
			if caller, err := callerOf("east", user); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("got %v, %v", caller, err)
			}
		})
	}
}

func TestPlausible(t *testing.T) {
	tests := map[string]struct {
		token string
		want  bool
	}{
		"a token":     {"eyJhbGciOi.eyJhdWQiOl.c2ln-_~+/=", true},
		"empty":       {"", false},
		"a space":     {"a b", false},
		"a newline":   {"a\nb", false},
		"not ASCII":   {"tokén", false},
		"the longest": {strings.Repeat("a", maxTokenBytes), true},
		"too long":    {strings.Repeat("a", maxTokenBytes+1), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := plausible(test.token); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func FuzzCallerOf(f *testing.F) {
	for _, name := range []string{"alice", "system:serviceaccount:a:b", "system:serviceaccount:a:b:c", "system:x", "", "a\x00", "\xff", strings.Repeat("a", maxIdentity+1)} {
		f.Add(name, "uid")
	}
	f.Fuzz(func(t *testing.T, name, uid string) {
		caller, err := callerOf("east", authenticationv1.UserInfo{Username: name, UID: uid})
		if err != nil {
			return
		}
		for _, text := range []string{caller.String(), caller.UID} {
			if !utf8.ValidString(text) || strings.Contains(text, "\x00") || len(text) > maxIdentity+len("system:serviceaccount:") {
				t.Errorf("%q cannot stand in the audit log", text)
			}
		}
		switch caller.Kind {
		case secret.KindUser:
			if strings.HasPrefix(name, serviceAccountPrefix) || caller.Name != name || caller.Namespace != "" {
				t.Errorf("%q became user %+v", name, caller)
			}
		case secret.KindServiceAccount:
			if serviceAccountPrefix+caller.Namespace+":"+caller.Name != name || strings.Contains(caller.Namespace+caller.Name, ":") {
				t.Errorf("%q became account %+v", name, caller)
			}
		default:
			t.Errorf("%q became kind %s", name, caller.Kind)
		}
	})
}

// FuzzPlausible: only what RFC 6750 lets a token consist of is sent to the API server.
func FuzzPlausible(f *testing.F) {
	for _, token := range []string{"", "eyJhbGciOi.eyJhdWQiOl.c2ln-_~+/=", "a b", "a\n", "tok\u00e9n", "\x7f", strings.Repeat("a", maxTokenBytes+1)} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		want := token != "" && len(token) <= maxTokenBytes && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
		if got := plausible(token); got != want {
			t.Errorf("%q: %v, want %v", token, got, want)
		}
	})
}
