package credscan

import (
	"fmt"
	"strings"
	"testing"
)

// FuzzText has hostile texts: nothing panics, and nothing that is said of a finding has the
// value that is put into the middle.
func FuzzText(f *testing.F) {
	for _, seed := range [][3]string{
		{".env", "PASSWORD=", "\n"}, {"a.yaml", "a:\n  token: \"", "\"\n"}, {"x", "postgres://a:", "@b/c"}, {"a.json", `{"api_key": "`, `"}`},
		{"s.yaml", "kind: Secret\ndata:\n  password: ", "=\n"}, {"k", "-----BEGIN RSA PRIVATE " + "KEY-----\n", "\n-----END RSA PRIVATE KEY-----"}, {"", "%68%75", "\x00\xff"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	s, err := New()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, before, after string) {
		if strings.Contains(name, canary) {
			return // a name is told
		}
		for _, found := range s.Text(t.Context(), name, before+canary+after) {
			if said := fmt.Sprintf("%v %+v %s %s %s", found, found, found.Rule, found.Description, found.Fingerprint); strings.Contains(said, canary) {
				t.Errorf("the finding repeats what was found: %s", said)
			}
		}
		if said := fmt.Sprint(s.Skipped()); strings.Contains(said, canary) {
			t.Errorf("what was skipped repeats what was read: %s", said)
		}
	})
}
