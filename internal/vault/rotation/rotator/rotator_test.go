package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

func TestWithLogin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ before, after rotator.Credential }{
		{nil, rotator.Credential{"username": "b", "password": "n/w:"}},
		{rotator.Credential{"username": "a", "password": "old", "host": "db"}, rotator.Credential{"username": "b", "password": "n/w:", "host": "db"}},
		{
			rotator.Credential{"url": "postgres://a:old@db:5432/shop?sslmode=verify-full"},
			rotator.Credential{"username": "b", "password": "n/w:", "url": "postgres://b:n%2Fw%3A@db:5432/shop?sslmode=verify-full"},
		},
	} {
		kept := fmt.Sprint(tc.before)
		after, err := tc.before.WithLogin("b", "n/w:")
		if diff := cmp.Diff(tc.after, after); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if fmt.Sprint(tc.before) != kept {
			t.Error("the credential before was changed")
		}
	}
	for _, address := range []string{"db:5432", "postgres://db/shop", "host=db password=the-old-one", "postgres://a:the-old-one@db:port"} {
		_, err := rotator.Credential{"url": address}.WithLogin("b", "new")
		if !errors.Is(err, rotator.ErrSetup) || strings.Contains(err.Error(), "the-old-one") {
			t.Errorf("a part url that is none: %v", err)
		}
	}
}

func TestPair(t *testing.T) {
	t.Parallel()
	pair := rotator.Pair{"a", "b"}
	one, two := rotator.Credential{"username": "a"}, rotator.Credential{"username": "b"}
	if other, err := pair.Other(two); other != "a" || err != nil {
		t.Errorf("the other of b is %q, %v", other, err)
	}
	for _, tc := range []struct {
		c, of rotator.Credential
		ok    bool
	}{{one, two, true}, {two, one, true}, {one, one, false}, {one, nil, false}, {nil, one, false}} {
		if err := pair.CheckBoth(tc.c, tc.of); (err == nil) != tc.ok || err != nil && !errors.Is(err, rotator.ErrSetup) {
			t.Errorf("%v and %v: %v, want them good: %v", tc.c, tc.of, err, tc.ok)
		}
	}
}

func TestUnreachableDropsTheDriversText(t *testing.T) {
	t.Parallel()
	err := rotator.Unreachable("dial db", fmt.Errorf("password=the-old-one: %w", context.Canceled))
	if !errors.Is(err, rotator.ErrUnreachable) || !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "the-old-one") {
		t.Error(err)
	}
}

// silent says nothing of overlapping.
type silent struct{ rotator.Rotator }

type single struct{ rotator.Rotator }

func (single) Overlaps() bool { return false }

func TestOverlapsUnlessItSaysOtherwise(t *testing.T) {
	t.Parallel()
	if !rotator.Overlaps(silent{}) || rotator.Overlaps(single{}) {
		t.Error("a rotator that says nothing overlaps, and one that says no does not")
	}
}

func TestCheckCurrent(t *testing.T) {
	t.Parallel()
	with := func(address string) rotator.Credential {
		return rotator.Credential{"username": "a", "password": "p/w:old", "url": address}
	}
	for _, tc := range []struct {
		current rotator.Credential
		want    string
	}{
		{rotator.Credential{"username": "a", "password": "p/w:old", "region": "eu"}, ""},
		{with("postgres://a:p%2Fw%3Aold@db/shop"), ""},
		{with("postgres://a@db/shop"), ""},
		{with("redis://:p%2Fw%3Aold@cache:6379"), ""}, // the user default
		{with("postgres://b:p%2Fw%3Aold@db/shop"), "a login other than username and password"},
		{with("postgres://a:older@db/shop"), "a login other than username and password"},
		{with("postgres://db/shop"), `"url" is no URL with a user`},
		{nil, `no property "username"`},
		{rotator.Credential{"username": "a"}, `no property "password"`},
		{rotator.Credential{"username": "a", "url": "postgres://a:older@db/shop"}, `no property "password"`},
	} {
		err := tc.current.CheckCurrent()
		if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%v: %v, want %q", tc.current, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "old") {
			t.Errorf("the error holds a password: %v", err)
		}
	}
}
