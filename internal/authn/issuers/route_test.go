package issuers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzIssuerOf: a token goes to an issuer only if its payload, read in another way, is an
// object that names it.
func FuzzIssuerOf(f *testing.F) {
	encode := base64.RawURLEncoding.EncodeToString
	for _, payload := range []string{
		`{"iss":"https://a"}`, `{"iss":"https://a","iss":"https://b"}`, `{"ISS":"https://a"}`, `{"iss":7}`, `{"iss":null}`, `["iss"]`, `{"iss":"a"} {"iss":"b"}`, `{`, ``, "\xff",
	} {
		f.Add("e30." + encode([]byte(payload)) + ".c2ln")
	}
	for _, token := range []string{"", ".", "..", "...", "a.b", "e30.e30=.x", "e30." + encode([]byte(`{"iss":"https://a"}`)), "e30." + encode([]byte(`{"iss":"https://a"}`)) + ".a.b.c"} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		named := issuerOf(token)
		if named == "" {
			return
		}
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			t.Fatalf("%d parts name an issuer", len(parts))
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatalf("a payload that is no base64 names an issuer: %v", err)
		}
		decoder := json.NewDecoder(bytes.NewReader(payload))
		var claims map[string]any
		if err := decoder.Decode(&claims); err != nil || decoder.More() {
			t.Fatalf("a payload that is no object names an issuer: %v", err)
		}
		for name, value := range claims {
			if strings.EqualFold(name, "iss") && value == named {
				return
			}
		}
		t.Errorf("no claim iss of the payload is what was found")
	})
}
