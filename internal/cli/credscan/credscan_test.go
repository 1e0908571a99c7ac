package credscan

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// canary is in each value to be found here, and in nothing that is said about it. It is put
// together so that no scanner takes this file for a leak.
const canary = "hunter" + "2x"

func scanner(t *testing.T) *Scanner {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func places(found []Finding) []string {
	said := []string{}
	for _, f := range found {
		said = append(said, fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Rule))
	}
	return said
}

func TestText(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte(canary + canary + canary))
	tests := map[string]struct {
		name, text string
		want       []string
	}{
		"a password in a .env file":      {".env", "USER=app\n# x\nDB_PASSWORD=" + canary + "\n", []string{".env:3 named-credential"}},
		"in quotes":                      {"a.env", "export API_KEY='" + canary + " y'\n", []string{"a.env:1 named-credential"}},
		"in YAML":                        {"a.yaml", "db:\n  password: " + canary + "\n", []string{"a.yaml:2 named-credential"}},
		"in JSON":                        {"a.json", `{"clientSecret": "` + canary + `"}`, []string{"a.json:1 named-credential"}},
		"in a URL":                       {"main.go", `open("postgres://app:` + canary + `@db:5432/app")`, []string{"main.go:1 connection-string"}},
		"a token of AWS":                 {"notes.txt", "the key is AKIA" + "Y3FDBTXQK7WZNS2P", []string{"notes.txt:1 aws-access-token"}},
		"a Secret":                       {"s.yaml", "kind: Secret\ndata:\n  password: " + secret + "\n", []string{"s.yaml:3 named-credential"}},
		"a Secret under other names":     {"s.yaml", "kind: Secret\ndata:\n  stuff: aGVsbG8gd29ybGQ=\n", []string{"s.yaml:1 kubernetes-secret-yaml"}},
		"two in a line":                  {"a.json", `{"password": "` + canary + `", "token": "an` + `other1"}`, []string{"a.json:1 named-credential", "a.json:1 named-credential"}},
		"a key":                          {"k", "-----BEGIN RSA PRIVATE " + "KEY-----\n" + strings.Repeat("MIIEowIBAAKCAQEA04up8hoqzS1+APIB0RhjXyObwHQnOzhAk5Bd7mhkSbPky\n", 3) + "-----END RSA PRIVATE " + "KEY-----\n", []string{"k:1 private-key"}},
		"names of credentials only":      {"a.yaml", "secretName: payments-db\npasswordFile: /run/secret\ntokenUrl: https://x/y\nkind: Secret\n", []string{}},
		"what stands for one":            {"a.yaml", "password: ${PASSWORD}\ntoken: {{ .Values.token }}\nsecret_key: changeme\napi_key: <yours>\npassword: \"\"\n", []string{}},
		"code":                           {"main.go", "password := os.Getenv(name)\ntoken = readToken(file)\n", []string{}},
		"a URL without a password":       {"a.txt", "postgres://app@db:5432/app https://x.y/z@w http://a:8080/b", []string{}},
		"settings":                       {".env", "LOG_LEVEL=debug\nPORT=8080\n", []string{}},
		"said to be none":                {".env", "DB_PASSWORD=" + canary + " # gitleaks:allow\n", []string{}},
		"the same under several names":   {".env", "A_PASSWORD=" + canary + "\nB_TOKEN=" + canary + "\n", []string{".env:1 named-credential", ".env:2 named-credential"}},
		"a password that is hard to see": {"x.properties", "spring.datasource.password=" + canary + "\n", []string{"x.properties:1 named-credential"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			found := scanner(t).Text(t.Context(), test.name, test.text)
			if diff := cmp.Diff(test.want, places(found)); diff != "" {
				t.Error(diff)
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
				if said := fmt.Sprintf(verb, found); strings.Contains(said, canary) {
					t.Errorf("%s prints %s", verb, said)
				}
			}
		})
	}
}

func TestFingerprints(t *testing.T) {
	s := scanner(t)
	found := s.Text(t.Context(), ".env", "A_PASSWORD="+canary+"\nB_TOKEN="+canary+"\nC_TOKEN="+canary+"y\n")
	if len(found) != 3 || found[0].Fingerprint != found[1].Fingerprint || found[0].Fingerprint == found[2].Fingerprint || len(found[0].Fingerprint) != 8 {
		t.Errorf("fingerprints %+v", found)
	}
	if again := scanner(t).Text(t.Context(), ".env", "A_PASSWORD="+canary); again[0].Fingerprint == found[0].Fingerprint {
		t.Error("two scanners give a value the same fingerprint, so that it can be guessed by trying")
	}
	for value, want := range map[string]bool{canary: true, canary + "\n": true, "hunt": true, "hun": false, "other": false} {
		if found[0].Holds([]byte(value)) != want {
			t.Errorf("holds %q: %t", value, !want)
		}
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "deploy/.env", "DB_PASSWORD="+canary+"\n")
	write(t, dir, ".git/config", "password = "+canary+"\n")
	write(t, dir, "app.conf", strings.Repeat("x = y\n", 40_000)+"password = "+canary+"\n")
	if err := os.Symlink(filepath.Join(dir, "deploy/.env"), filepath.Join(dir, "link.env")); err != nil {
		t.Fatal(err)
	}
	s := scanner(t)
	var done, total int64
	found, err := s.Folder(t.Context(), dir, func(d, of int64) { done, total = d, of })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.ToSlash(dir) + "/app.conf:40001 named-credential", filepath.ToSlash(dir) + "/deploy/.env:1 named-credential"}
	if diff := cmp.Diff(want, places(found)); diff != "" {
		t.Error(diff)
	}
	if done != 2 || total != 2 {
		t.Errorf("%d of %d files are told", done, total)
	}
	one, err := s.Folder(t.Context(), filepath.Join(dir, "deploy/.env"), func(int64, int64) {})
	if err != nil || len(one) != 1 {
		t.Errorf("a file alone: %v, %v", one, err)
	}
	if _, err := s.Folder(t.Context(), filepath.Join(dir, "none"), func(int64, int64) {}); err == nil {
		t.Error("a folder that is not there has no error")
	}
}

func TestHistory(t *testing.T) {
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	write(t, dir, "a/.env", "USER=app\nDB_PASSWORD="+canary+"\n")
	write(t, dir, "b/.env", "DB_PASSWORD="+canary+"\n")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-qm", "one")
	first := strings.TrimSpace(git(t, dir, "rev-parse", "HEAD"))
	git(t, dir, "rm", "-rq", "a", "b")
	git(t, dir, "commit", "-qm", "two")
	var done, total int64
	found, err := scanner(t).History(t.Context(), dir, func(d, of int64) { done, total = d, of })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a/.env:2 named-credential", "b/.env:1 named-credential"}, places(found)); diff != "" {
		t.Error(diff)
	}
	if done != 1 || total != 2 { // the second commit adds nothing
		t.Errorf("it is told that %d of %d commits were begun with", done, total)
	}
	if found[0].Commit != first {
		t.Errorf("commit %s, want %s", found[0].Commit, first)
	}
	write(t, dir, "b/x", "")
	part, err := scanner(t).History(t.Context(), filepath.Join(dir, "b"), func(int64, int64) {})
	if err != nil || len(part) != 1 || part[0].File != "b/.env" {
		t.Errorf("the history of a folder: %v, %v", part, err)
	}
	if _, err := scanner(t).History(t.Context(), t.TempDir(), func(int64, int64) {}); err == nil || !strings.Contains(err.Error(), "is not in a git repository") {
		t.Errorf("error %v", err)
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}
