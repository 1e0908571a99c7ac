package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/runner"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// accepting is a system that takes whatever it is told.
type accepting struct{}

func (accepting) Create(context.Context, rotator.Credential) (rotator.Credential, error) {
	return rotator.Credential{"password": "another"}, nil
}
func (accepting) Set(context.Context, rotator.Credential, rotator.Credential) error    { return nil }
func (accepting) Test(context.Context, rotator.Credential) error                       { return nil }
func (accepting) Finish(context.Context, rotator.Credential, rotator.Credential) error { return nil }
func (accepting) Revoke(context.Context, rotator.Credential, rotator.Credential) error { return nil }

// nobody are consumers that a rotation need not wait for.
type nobody struct{}

func (nobody) Consumers(context.Context, secret.Path, int64) (total, moved int, err error) {
	return 0, 0, nil
}

func (nobody) ConsumersBack(context.Context, secret.Path, int64) (total, moved int, err error) {
	return 0, 0, nil
}

// byName accepts the names of service accounts of the cluster default as their tokens.
type byName struct{}

func (byName) Authenticate(_ context.Context, token string) (secret.Caller, error) {
	namespace, name, ok := strings.Cut(token, "/")
	if !ok {
		return secret.Caller{}, fmt.Errorf("%w: no name", authn.ErrUnauthenticated)
	}
	return secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: namespace, Name: name, Environment: "production"}, nil
}
func (byName) Known(string) bool                                                 { return true }
func (byName) Environment(context.Context, string) (string, error)               { return "production", nil }
func (byName) ServiceAccountUID(context.Context, string, string) (string, error) { return "", nil }

// installWithoutCluster is an installation for what asks no cluster.
func installWithoutCluster(t *testing.T) *installation {
	t.Helper()
	vault := vaulttest.Start(t)
	vault.Sync(t, "default")
	s := httptest.NewTLSServer(server.New(server.Config{
		Vault: vault.Engine, Authenticator: byName{}, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Rate: 10000, Burst: 10000,
	}))
	t.Cleanup(s.Close)
	caCert := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(caCert, pemOf(s.Certificate().Raw), 0o600))
	return &installation{vault: vault, url: s.URL, caCert: caCert}
}

// runRotations brings the rotations of i on until the test ends.
func (i *installation) runRotations(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	r := &runner.Runner{
		Vault: i.vault.Engine, Consumers: nobody{}, Look: 100 * time.Millisecond,
		Rotators: func(context.Context, rotation.Method, runner.Reader) (rotator.Rotator, error) {
			return accepting{}, nil
		},
	}
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestLeakFollowsTheRotation: a path that three services have. It says who and when, the rotation makes another value, and each of
// them is told as it has that, the last a moment after the rotation is done.
func TestLeakFollowsTheRotation(t *testing.T) {
	i := installWithoutCluster(t)
	const name = "production/aws/key"
	admin := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "operations", Name: "api"}
	i.vault.AllowAll(t, admin, "**")
	services := []secret.Caller{vaulttest.ServiceAccount("payments", "api", "production"), vaulttest.ServiceAccount("batch", "worker", "production")}
	path := vaulttest.Path(t, name)
	reads := func(service int) {
		services[service].Address = "10.0.0.7"
		_, err := i.vault.Engine.Read(t.Context(), services[service], secret.Ref{Path: path})
		must(t, err)
	}
	acknowledges := func(version int64) {
		must(t, i.vault.Engine.Acknowledge(t.Context(), "default", []secret.Acknowledgement{{
			Kind: secret.ConsumerVaultSecret, Namespace: "web", Name: "aws", UID: "u-1", State: "Synced", Workloads: 2, Rolled: 2,
			Sources: []secret.HeldVersion{{Path: path, Version: version}},
		}}))
	}
	i.vault.Put(t, name, `{"password":"one"}`)
	for n, service := range services {
		i.vault.Allow(t, service, name, policy.Read)
		reads(n)
	}
	acknowledges(1)
	_, err := i.vault.Engine.ReplaceRotations(t.Context(), "default", []rotation.Definition{{
		Name: "aws", As: rotation.Identity{Namespace: "operations", ServiceAccount: "api"},
		Spec: rotation.Spec{Path: name, Method: rotation.Method{Kind: "test"}},
	}})
	must(t, err)
	i.runRotations(t)
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte(admin.String()), 0o600))

	var out testkit.Output
	var errs bytes.Buffer
	s := &session{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now}
	code := make(chan int, 1)
	go func() {
		code <- s.run(t.Context(), []string{"coffer", "leak", name, "--yes", "--reason", "in a log", "--address", i.url, "--ca-cert", i.caCert, "--token-file", token})
	}()
	awaits := func(text string) {
		t.Helper()
		testkit.Eventually(t, time.Minute, func() string {
			if !strings.Contains(out.String(), text) {
				return "it does not say " + text + ":\n" + out.String()
			}
			return ""
		})
	}
	awaits("The rotation is done, version 2")
	acknowledges(2)
	reads(0)
	awaits("VaultSecret/web/aws in default has version 2")
	reads(1)
	if got := <-code; got != exitOK {
		t.Errorf("it ended with %d: %s", got, errs.String())
	}
	for _, line := range []string{
		`^payments/api +default +api +1 +1 +\S+ +\S+ +10\.0\.0\.7$`, `^batch/worker +default +api +1 +1 `,
		`^VaultSecret +default +web +aws +1 +2/2 +Synced `,
		`^VaultSecret +default +web +aws +2 +2/2 +yes$`, `^ServiceAccount +default +payments +api +2 +- +yes$`, `^ServiceAccount +default +batch +worker +2 +- +yes$`, `^ServiceAccount +default +batch +worker +1 +- +cached$`,
	} {
		if !regexp.MustCompile(`(?m)` + line).MatchString(out.String()) {
			t.Errorf("no line is like %s:\n%s", line, out.String())
		}
	}
}

// TestLeakByWhoMayNotFollow: the rotation begins, and it is said that what comes of it is not told. From a cluster whose rotation is not to
// be chosen nothing is begun.
func TestLeakByWhoMayNotFollow(t *testing.T) {
	i := installWithoutCluster(t)
	const name = "production/aws/key"
	responder := vaulttest.ServiceAccount("security", "responder", "production")
	i.vault.Put(t, name, `{"password":"one"}`)
	i.vault.Allow(t, responder, name, policy.Audit, policy.Rotate)
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte("security/responder"), 0o600))
	leak := func(want int, text string) {
		t.Helper()
		var out, errs bytes.Buffer
		s := &session{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now}
		code := s.run(t.Context(), []string{"coffer", "leak", name, "--yes", "--address", i.url, "--ca-cert", i.caCert, "--token-file", token})
		if said := out.String() + errs.String(); code != want || !strings.Contains(said, text) {
			t.Errorf("it ended with %d: %s", code, said)
		}
	}
	defined := []rotation.Definition{{
		Name: "aws", As: rotation.Identity{Namespace: "operations", ServiceAccount: "api"},
		Spec: rotation.Spec{Path: name, Method: rotation.Method{Kind: "test"}},
	}}
	for _, cluster := range []string{"east", "west"} {
		_, err := i.vault.Engine.ReplaceRotations(t.Context(), cluster, defined)
		must(t, err)
	}
	leak(exitFailed, "nothing is done about version 1 of production/aws/key: production/aws/key is rotated by several clusters; ask in one of them: east, west")
	_, err := i.vault.Engine.ReplaceRotations(t.Context(), "default", defined)
	must(t, err)
	leak(exitOK, "What comes of it is not told: you may not see it, which takes list or read")
	run, _, err := i.vault.Engine.ShowRotation(t.Context(), i.vault.Admin, vaulttest.Path(t, name))
	if err != nil || run.Newest == nil || !run.Newest.RevokeOld || run.Cluster != "default" {
		t.Errorf("it is %+v, %v", run, err)
	}
}

// TestSaidOfRun: what was asked for may be under way already.
func TestSaidOfRun(t *testing.T) {
	for want, run := range map[string]sdk.RotationRun{
		"is planned": {State: "planned"},
		"was under way, and waits for no consumer any more: version 3 is revoked as soon as version 4 is current": {State: "propagating", From: 3, To: 4},
	} {
		if got := saidOfRun(run); got != want {
			t.Errorf("it %s, want %s", got, want)
		}
	}
}
