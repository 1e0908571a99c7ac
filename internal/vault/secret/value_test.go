package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

const canary = "canary-7f3a9c"

// hidden has the Value where fmt asks it nothing.
type hidden struct{ value secret.Value }

func TestValuesDoNotPrint(t *testing.T) {
	v := newValue(t, canary)
	shown := secret.Secret{Value: v}
	var logged bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(handler).Info("m", "value", v, "pointer", &v, "in", shown, "hidden", hidden{v}, "many", []secret.Value{v})
	}
	mustHide(t, "slog", logged.String())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%p", "%T", "%8.3s"} {
		for name, x := range map[string]any{
			"value": v, "pointer": &v, "struct": shown, "unexported field": hidden{v}, "pointer to one": &hidden{v},
			"list": []secret.Value{v}, "map": map[string]secret.Value{"k": v}, "request": secret.PutRequest{Value: v},
		} {
			mustHide(t, name+" as "+verb, fmt.Sprintf(verb, x))
		}
	}
	for _, x := range []any{v, &v, shown, hidden{v}, map[string]any{"k": v}} {
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		mustHide(t, "JSON", string(text))
	}
	if got := fmt.Sprint(v); got != "[redacted]" {
		t.Errorf("prints as %q, want [redacted]", got)
	}
	mustHide(t, "an error", fmt.Errorf("put %v: %w", v, secret.ErrInvalidValue).Error())
}

// mustHide searches for the canary in every spelling that printing could give it.
func mustHide(t *testing.T, where, text string) {
	t.Helper()
	numbers := strings.Trim(fmt.Sprint([]byte(canary)), "[]")
	for _, spelling := range []string{
		canary, numbers, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))),
		base64.StdEncoding.EncodeToString([]byte(canary)), canary[:3], strings.Join(strings.Fields(numbers), ", "),
		"0x63, 0x61, 0x6e",
	} {
		if strings.Contains(text, spelling) {
			t.Errorf("%s shows the value: %s", where, text)
		}
	}
}

func TestValueBytes(t *testing.T) {
	v := newValue(t, canary)
	if string(v.Bytes()) != canary || v.Len() != len(canary) {
		t.Errorf("Len is %d, want %d", v.Len(), len(canary))
	}
	kept := v.Bytes()
	other := v
	other.Clear()
	if !bytes.Equal(kept, make([]byte, len(canary))) || !bytes.Equal(v.Bytes(), kept) {
		t.Error("Clear left a copy")
	}
	var zero secret.Value
	zero.Clear()
	if zero.Len() != 0 || zero.Bytes() != nil {
		t.Error("the zero Value holds something")
	}
}

func TestValueSizes(t *testing.T) {
	if _, err := secret.NewValue(make([]byte, secret.MaxValueBytes)); err != nil {
		t.Errorf("the largest value: %v", err)
	}
	if _, err := secret.NewValue(make([]byte, secret.MaxValueBytes+1)); !errors.Is(err, secret.ErrInvalidValue) {
		t.Errorf("a byte more: error %v, want ErrInvalidValue", err)
	}
}

func TestProperties(t *testing.T) {
	for name, tc := range map[string]struct {
		value string
		want  map[string]string
	}{
		"strings":             {`{"user":"app","password":"p"}`, map[string]string{"user": "app", "password": "p"}},
		"none":                {`{}`, map[string]string{}},
		"empty string":        {`{"a":""}`, map[string]string{"a": ""}},
		"space around":        {" \n{\"a\":\"b\"}\n", map[string]string{"a": "b"}},
		"escapes":             {`{"a":"\u00e4\n"}`, map[string]string{"a": "ä\n"}},
		"a number":            {`{"a":1}`, nil},
		"a null":              {`{"a":null}`, nil},
		"nested":              {`{"a":{"b":"c"}}`, nil},
		"a list":              {`["a"]`, nil},
		"a string":            {`"a"`, nil},
		"null":                {`null`, nil},
		"something after it":  {`{"a":"b"} x`, nil},
		"two objects":         {`{"a":"b"}{"c":"d"}`, nil},
		"cut off":             {`{"a":"b"`, nil},
		"nothing":             {``, nil},
		"raw":                 {"\x00\xff{", nil},
		"begins like an one":  {"{not json", nil},
		"a PEM-like raw text": {"-----BEGIN X-----\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := secret.Properties(newValue(t, tc.value))
			if ok != (tc.want != nil) {
				t.Errorf("has properties: %v, want %v", ok, tc.want != nil)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("properties (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPropertiesOfWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "properties")
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		v, err := secret.NewValue(text)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := secret.Properties(v)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Fatalf("ok %v, properties (-want +got):\n%s", ok, diff)
		}
	})
}

func newValue(t *testing.T, s string) secret.Value {
	t.Helper()
	v, err := secret.NewValue([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
