package content

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func ref(t interface{ Fatal(...any) }, path string, version int64) secret.Ref {
	parsed, err := secret.ParsePath(path)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Ref{Path: parsed, Version: version}
}

func value(t interface{ Fatal(...any) }, s string) secret.Value {
	v, err := secret.NewValue([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRefs(t *testing.T) {
	spec := &vaultv1alpha1.VaultSecretSpec{
		Path: "a/b",
		Data: []vaultv1alpha1.VaultSecretData{
			{Key: "1"}, {Key: "2", Path: "a/b"}, {Key: "3", Path: "c"}, {Key: "4", Path: "c", Property: "x"}, {Key: "5", Path: "c", Version: 2}, {Key: "6", Version: 1},
		},
	}
	got, err := Refs(spec)
	if err != nil {
		t.Fatal(err)
	}
	want := []secret.Ref{ref(t, "a/b", 0), ref(t, "c", 0), ref(t, "c", 2), ref(t, "a/b", 1)}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b secret.Ref) bool { return a == b })); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
	for name, spec := range map[string]vaultv1alpha1.VaultSecretSpec{
		"nothing":     {},
		"no path":     {Data: []vaultv1alpha1.VaultSecretData{{Key: "a"}}},
		"not a path":  {Path: "A//b"},
		"not a path2": {Data: []vaultv1alpha1.VaultSecretData{{Key: "a", Path: "../b"}}},
	} {
		if _, err := Refs(&spec); !errors.Is(err, ErrInvalidSpec) {
			t.Errorf("%s: got %v, want ErrInvalidSpec", name, err)
		}
	}
}

func TestBuild(t *testing.T) {
	values := map[secret.Ref]secret.Value{
		ref(t, "json", 0):   value(t, `{"user":"app","pw":"eHl6"}`),
		ref(t, "raw", 0):    value(t, "raw"),
		ref(t, "raw", 3):    value(t, "older"),
		ref(t, "nested", 0): value(t, `{"a":{"b":"c"}}`),
		ref(t, "empty", 0):  value(t, ``),
	}
	tests := map[string]struct {
		spec vaultv1alpha1.VaultSecretSpec
		want map[string]string
	}{
		"properties":    {vaultv1alpha1.VaultSecretSpec{Path: "json"}, map[string]string{"user": "app", "pw": "eHl6"}},
		"raw":           {vaultv1alpha1.VaultSecretSpec{Path: "raw"}, map[string]string{"value": "raw"}},
		"nested is raw": {vaultv1alpha1.VaultSecretSpec{Path: "nested"}, map[string]string{"value": `{"a":{"b":"c"}}`}},
		"empty":         {vaultv1alpha1.VaultSecretSpec{Path: "empty"}, map[string]string{"value": ""}},
		"entries": {vaultv1alpha1.VaultSecretSpec{Data: []vaultv1alpha1.VaultSecretData{
			{Key: "a", Path: "json", Property: "pw", Decode: vaultv1alpha1.DecodeBase64}, {Key: "b", Path: "raw", Version: 3}, {Key: "c", Path: "json", Decode: vaultv1alpha1.DecodeNone},
		}}, map[string]string{"a": "xyz", "b": "older", "c": `{"user":"app","pw":"eHl6"}`}},
		"entry wins":    {vaultv1alpha1.VaultSecretSpec{Path: "json", Data: []vaultv1alpha1.VaultSecretData{{Key: "pw", Path: "raw"}}}, map[string]string{"user": "app", "pw": "raw"}},
		"template only": {vaultv1alpha1.VaultSecretSpec{Path: "json", Target: vaultv1alpha1.VaultSecretTarget{Template: map[string]string{"T": "{{ .user }}"}}}, map[string]string{"T": "app"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := Build(&test.spec, values)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for key, v := range data {
				got[key] = string(v)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
}

// The result stands on its own: clearing the values, as the reconciler does, leaves
// it alone.
func TestBuildSharesNoMemory(t *testing.T) {
	values := map[secret.Ref]secret.Value{ref(t, "raw", 0): value(t, "raw"), ref(t, "json", 0): value(t, `{"a":"b"}`)}
	spec := &vaultv1alpha1.VaultSecretSpec{Path: "raw", Data: []vaultv1alpha1.VaultSecretData{{Key: "x", Path: "raw"}, {Key: "y", Path: "json", Property: "a"}}}
	data, err := Build(spec, values)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		v.Clear()
	}
	if string(data["value"])+string(data["x"])+string(data["y"]) != "rawrawb" {
		t.Errorf("the data changed with the values: %q", data)
	}
}

// Whatever the values, an error of Build quotes none of them.
func TestErrorsHoldNoValue(t *testing.T) {
	const canary = "c4nary-s3cret"
	values := map[secret.Ref]secret.Value{
		ref(t, "raw", 0):   value(t, canary),
		ref(t, "json", 0):  value(t, `{"user":"`+canary+`","odd key":"`+canary+`"}`),
		ref(t, "large", 0): value(t, strings.Repeat(canary, 80_000)),
	}
	entry := func(e vaultv1alpha1.VaultSecretData) vaultv1alpha1.VaultSecretSpec {
		return vaultv1alpha1.VaultSecretSpec{Data: []vaultv1alpha1.VaultSecretData{e}}
	}
	for name, spec := range map[string]vaultv1alpha1.VaultSecretSpec{
		"odd key":     {Path: "json"},
		"too large":   {Path: "large", Data: []vaultv1alpha1.VaultSecretData{{Key: "again", Path: "large"}}},
		"property":    entry(vaultv1alpha1.VaultSecretData{Key: "a", Path: "json", Property: "x"}),
		"of raw":      entry(vaultv1alpha1.VaultSecretData{Key: "a", Path: "raw", Property: "x"}),
		"base64":      entry(vaultv1alpha1.VaultSecretData{Key: "a", Path: "raw", Decode: vaultv1alpha1.DecodeBase64}),
		"template":    {Path: "raw", Target: vaultv1alpha1.VaultSecretTarget{Template: map[string]string{"T": "{{ b64dec .value }}"}}},
		"not read":    {Path: "other"},
		"bad out key": {Path: "raw", Target: vaultv1alpha1.VaultSecretTarget{Template: map[string]string{"a b": "{{ .value }}"}}},
	} {
		_, err := Build(&spec, values)
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

// Any bytes come through a raw value unchanged.
func TestRawBytesAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
		v, err := secret.NewValue(append([]byte("x"), raw...))
		if err != nil {
			t.Fatal(err)
		}
		data, err := Build(&vaultv1alpha1.VaultSecretSpec{Path: "raw"}, map[secret.Ref]secret.Value{ref(t, "raw", 0): v})
		if err != nil {
			t.Fatal(err)
		}
		if string(data["value"]) != "x"+string(raw) {
			t.Fatalf("got %q", data["value"])
		}
	})
}
