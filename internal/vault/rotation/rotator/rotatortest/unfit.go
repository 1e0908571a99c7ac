package rotatortest

import (
	"errors"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// Unfit is a credential from which no rotation of a login may start: it could neither go back to it nor retire it.
type Unfit struct {
	Name       string
	Credential rotator.Credential
	// Kind is the error that Create wraps, and Says what it tells the owner of the secret.
	Kind error
	Says string
}

// RefusesUnfit has Create refuse what holds no login that works, in the forms in which s.First may be stored by mistake, and those of more.
// The errors hold no part of it but the username, and First logs in after all of it.
func RefusesUnfit(t *testing.T, s System, more ...Unfit) {
	t.Helper()
	for _, u := range append(unfit(s.First), more...) {
		next, err := s.Rotator.Create(t.Context(), u.Credential)
		if next != nil || !errors.Is(err, u.Kind) || err != nil && !strings.Contains(err.Error(), u.Says) {
			t.Errorf("%s: create says %v, want %v with %q", u.Name, err, u.Kind, u.Says)
		}
		for part, value := range u.Credential {
			if err != nil && part != rotator.UsernamePart && value != "" && strings.Contains(err.Error(), value) {
				t.Errorf("%s: the error holds the part %s", u.Name, part)
			}
		}
	}
	if !s.LogsIn(s.First) {
		t.Error("the first credential does not log in any more")
	}
}

func unfit(first rotator.Credential) []Unfit {
	name, password := first.Username(), first.Password()
	with := func(part, value string) rotator.Credential {
		c := maps.Clone(first)
		delete(c, rotator.URLPart)
		if c[part] = value; value == "" {
			delete(c, part)
		}
		return c
	}
	address := func(user *url.Userinfo) string {
		return (&url.URL{Scheme: "db", User: user, Host: "db.example.org", Path: "/app"}).String()
	}
	inURL := with(rotator.PasswordPart, "")
	inURL[rotator.URLPart] = address(url.UserPassword(name, password))
	const noUsername, noPassword = `the secret has no property "username"; store`, `the secret has no property "password"; store`
	return []Unfit{
		{"nothing", nil, rotator.ErrSetup, noUsername},
		{"one value", rotator.Credential{"value": password}, rotator.ErrSetup, noUsername},
		{"other names", rotator.Credential{"user": name, "pass": password}, rotator.ErrSetup, noUsername},
		{"no username", with(rotator.UsernamePart, ""), rotator.ErrSetup, noUsername},
		{"no password", with(rotator.PasswordPart, ""), rotator.ErrSetup, noPassword},
		{"an empty password", rotator.Credential{rotator.UsernamePart: name, rotator.PasswordPart: ""}, rotator.ErrSetup, noPassword},
		{"a password in the url only", inURL, rotator.ErrSetup, noPassword},
		{"a login of somebody else", with(rotator.UsernamePart, "somebody"), rotator.ErrSetup, "the secret's username is"},
		{"another user in the url", with(rotator.URLPart, address(url.UserPassword("somebody", password))), rotator.ErrSetup, "other than"},
		{"another password in the url", with(rotator.URLPart, address(url.UserPassword(name, "that-of-yesterday"))), rotator.ErrSetup, "other than"},
		{"a password that does not log in", with(rotator.PasswordPart, "that-of-yesterday"), rotator.ErrRefused, "store the login that works"},
	}
}
