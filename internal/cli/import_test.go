package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/internal/cli/source"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

// allowImports gives what testdata/script/import.txtar is about: an account that may write one
// path of two, and one that may write and not read what is there.
func (i *installation) allowImports(t *testing.T) {
	t.Helper()
	payments := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "payments", Name: "api"}
	i.vault.Allow(t, payments, "import/partial/more", policy.Read, policy.Write)
	writer := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "writers", Name: "api"}
	i.vault.Allow(t, writer, "import/blind", policy.Write)
	i.vault.Allow(t, writer, "import/listed", policy.Write, policy.List)
	for _, path := range []string{"import/blind", "import/listed"} {
		i.vault.Put(t, path, "there")
	}
}

// importing is a plan for the file, compared with the vault, and what carries it out.
func (i *installation) importing(t *testing.T, content, to string, split bool) (*plan, func() error) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte(i.account(t, "operations", "coffer")), 0o600))
	client, err := sdk.New(sdk.Config{Address: i.url, CACert: i.caCert, TokenFile: token})
	must(t, err)
	parsed, err := source.Parse(".env", source.FormatEnv, []byte(content), source.ReferencesRefuse)
	must(t, err)
	p, err := newPlan(parsed.Sources, to, split)
	must(t, err)
	must(t, p.compare(t.Context(), client, defaultTimeout, func(int64, int64) {}))
	return p, func() error {
		var out bytes.Buffer
		s := &session{in: strings.NewReader(""), out: &out, err: &out, now: time.Now}
		s.connection.timeout = defaultTimeout
		cmd := &cobra.Command{Annotations: map[string]string{}}
		cmd.SetContext(t.Context())
		return s.carryOut(cmd, client, p, &importFlags{yes: true, overwrite: true}, &out)
	}
}

// What somebody writes between the plan and the import stays: the import is refused, and the
// next one sees it.
func TestImportLosesNothing(t *testing.T) {
	i := install(t)
	admin := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "operations", Name: "api"}
	i.vault.AllowAll(t, admin, "**")
	tests := map[string]struct {
		before bool
		split  bool
	}{"new path": {}, "existing path": {before: true}, "new path for a key": {split: true}, "existing path for a key": {before: true, split: true}}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			to := "race/" + strings.ReplaceAll(name, " ", "-")
			path := to
			if test.split {
				path += "/a"
			}
			if test.before {
				i.vault.Put(t, path, `{"b":"theirs"}`)
			}
			_, carryOut := i.importing(t, "A=mine", to, test.split)
			i.vault.Put(t, path, `{"c":"meanwhile"}`)
			if err := carryOut(); sdk.CodeOf(err) != sdk.CodeConflict || !strings.Contains(err.Error(), "not written: "+path) {
				t.Errorf("error %v", err)
			}
			p, carryOut := i.importing(t, "A=mine", to, test.split)
			if p.targets[0].has(stateNew) == test.split {
				t.Errorf("items %v", p.rows())
			}
			must(t, carryOut())
			want := `{"A":"mine","c":"meanwhile"}`
			if test.split {
				want = "mine"
			}
			read, err := i.vault.Engine.Read(t.Context(), i.vault.Admin, secret.Ref{Path: secretPath(t, path)})
			must(t, err)
			if got := string(read.Value.Bytes()); got != want {
				t.Errorf("the vault has %s, want %s", got, want)
			}
		})
	}
}

func secretPath(t *testing.T, path string) secret.Path {
	t.Helper()
	p, err := secret.ParsePath(path)
	must(t, err)
	return p
}

func TestImportBounds(t *testing.T) {
	one := source.Source{Kind: source.KindFile, Name: ".env", Entries: []source.Entry{{Key: "A", Value: bytes.Repeat([]byte("v"), maxValueBytes)}}}
	p, err := newPlan([]source.Source{one}, "a/b", false)
	must(t, err)
	if _, err = p.targets[0].value(); err == nil || !strings.Contains(err.Error(), "import with --split") {
		t.Errorf("error %v", err)
	}
	p, err = newPlan([]source.Source{one}, "a/b", true)
	must(t, err)
	if value, err := p.targets[0].value(); err != nil || len(value) != maxValueBytes {
		t.Errorf("%d bytes, %v", len(value), err)
	}
}

func TestPathsOfSources(t *testing.T) {
	tests := map[string]struct {
		source source.Source
		want   string
	}{
		".env":          {source.Source{Kind: source.KindFile, Name: ".env"}, "env"},
		".env.staging":  {source.Source{Kind: source.KindFile, Name: "deploy/.env.staging"}, "env.staging"},
		"app.env":       {source.Source{Kind: source.KindFile, Name: "app.env"}, "app"},
		"settings.yaml": {source.Source{Kind: source.KindFile, Name: "/etc/My Settings.yaml"}, "my-settings"},
		"a Secret":      {source.Source{Kind: source.KindSecret, Namespace: "payments", Name: "db.main"}, "db.main"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.source.Entries = []source.Entry{{Key: "DB_PASSWORD"}, {Key: "ca crt"}}
			p, err := newPlan([]source.Source{test.source}, "a/", false)
			must(t, err)
			if len(p.targets) != 1 || p.targets[0].path != "a/"+test.want {
				t.Errorf("path %s", p.targets[0].path)
			}
			p, err = newPlan([]source.Source{test.source}, "a/b", true)
			must(t, err)
			if len(p.targets) != 2 || p.targets[0].path != "a/b/db_password" || p.targets[1].path != "a/b/ca-crt" {
				t.Errorf("paths %s, %s", p.targets[0].path, p.targets[1].path)
			}
		})
	}
}

// The plan as people read it.
func TestPlanTable(t *testing.T) {
	database := &source.Source{Kind: source.KindSecret, Namespace: "payments", Name: "database"}
	file := &source.Source{Kind: source.KindFile, Name: ".env"}
	p := &plan{from: "the cluster of context east (https://east.example)", into: "the vault at https://coffer.example as payments/alice", targets: []*target{
		{
			path: "production/payments/database", source: database, version: 3, readable: true, kept: map[string]string{"host": "hunter2", "port": "hunter2"},
			items: []item{
				{key: "password", value: []byte("hunter2"), state: stateDiffers}, {key: "user", value: []byte("hunter2!"), state: stateUnchanged},
				{key: "keystore", value: []byte{0, 1, 255}, base64: true, state: stateNew},
			},
		},
		{path: "production/payments/env/token", source: file, raw: true, items: []item{{key: "TOKEN", value: []byte("hunter2"), state: stateNew}}},
		{path: "production/payments/env/old", source: file, raw: true, version: 2, items: []item{{key: "OLD", value: []byte("hunter2"), state: stateDiffers}}},
		{path: "production/payments/gone", source: file, raw: true, deleted: 4, items: []item{{key: "GONE", value: []byte("hunter2"), state: stateDeleted}}},
		{path: "production/payments/plain", source: file, version: 1, readable: true, plain: true, items: []item{{key: "A", state: stateDiffers}}},
	}}
	var out bytes.Buffer
	must(t, p.print(&out))
	if strings.Contains(out.String(), "hunter2") {
		t.Error("the plan has a value")
	}
	compareGolden(t, filepath.Join("testdata", "golden", "import-plan.txt"), out.Bytes())
}

// An import of many paths has the time for each, not for all.
func TestImportOfManyPathsHasTheTime(t *testing.T) {
	const answer, keys = 20 * time.Millisecond, 50
	const timeout = 2 * time.Second // less than 3 answers for each key
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/whoami" {
			_, _ = fmt.Fprint(w, `{"kind":"ServiceAccount","cluster":"east","namespace":"operations","name":"api"}`)
			return
		}
		select {
		case <-time.After(answer):
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"code":"not_found_or_denied","detail":"it is not there","status":404}`)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	caCert, token, env := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token"), filepath.Join(dir, "many.env")
	must(t, os.WriteFile(caCert, pemOf(server.Certificate().Raw), 0o600))
	must(t, os.WriteFile(token, []byte("t"), 0o600))
	var content strings.Builder
	for n := range keys {
		_, _ = fmt.Fprintf(&content, "KEY_%d=v\n", n)
	}
	must(t, os.WriteFile(env, []byte(content.String()), 0o600))
	var said bytes.Buffer
	s := &session{in: strings.NewReader(""), out: &said, err: &said, now: time.Now}
	begun := time.Now()
	code := s.run(t.Context(), []string{
		"coffer", "import", env, "--to", "a", "--split", "--dry-run", "--timeout", timeout.String(), "--address", server.URL, "--ca-cert", caCert, "--token-file", token,
	})
	if took := time.Since(begun); code != exitOK || took < timeout || !strings.Contains(said.String(), "50 new, 0 unchanged") {
		t.Errorf("exit code %d after %s:\n%s", code, took, said.String())
	}
}

func TestCancelledImportSaysWhatIsWritten(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	client, err := sdk.New(sdk.Config{Address: "https://127.0.0.1:1", Token: "none"})
	must(t, err)
	p, err := newPlan([]source.Source{{Kind: source.KindFile, Name: ".env", Entries: []source.Entry{{Key: "A"}, {Key: "B"}}}}, "a", true)
	must(t, err)
	s := &session{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, now: time.Now}
	s.connection.timeout = defaultTimeout
	cmd := &cobra.Command{Annotations: map[string]string{}}
	cmd.SetContext(ctx)
	err = s.carryOut(cmd, client, p, &importFlags{yes: true}, s.out)
	if err == nil || !strings.Contains(err.Error(), "written: nothing; not written: a/a, a/b; the same command goes on") || cmd.Annotations[explainedPath] != "a/a" {
		t.Errorf("error %v", err)
	}
}
