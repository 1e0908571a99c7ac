package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/keyservice"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func probe(t *testing.T, address, path string) int {
	t.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestOpenWaitsForTheRootKey: the KMS plugin starts after the manager has found it
// away. Until then the manager lives and is not ready; afterwards the address of the
// probes is free.
func TestOpenWaitsForTheRootKey(t *testing.T) {
	plugin := keyservice.NewKMS(t)
	root, closeRoot, err := openRoot(Config{Root: RootKey{KMSSocket: plugin.Socket}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeRoot()
	logger := slog.New(slog.DiscardHandler)
	address := freeAddress(t)
	attempts := 0
	config := EngineConfig{DatabaseURL: testkit.Postgres(t), Root: root, Logger: logger}
	_, closeEngine, err := openWhenThere(t.Context(), address, logger, func(ctx context.Context) (*vault.Engine, func(), error) {
		attempts++
		if attempts == 2 {
			if alive, ready := probe(t, address, "/healthz"), probe(t, address, "/readyz"); alive != http.StatusOK || ready != http.StatusServiceUnavailable {
				t.Errorf("while it waits, /healthz is %d and /readyz is %d", alive, ready)
			}
			plugin.Start(t)
		}
		return OpenEngine(ctx, config)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine()
	if attempts != 2 {
		t.Errorf("%d attempts, want 2", attempts)
	}
	listener, err := listenAPI(t.Context(), address)
	if err != nil {
		t.Fatalf("the address of the probes is not free: %v", err)
	}
	_ = listener.Close()
}

func TestOpenWaitsForNothingElse(t *testing.T) {
	database := testkit.Postgres(t)
	logger := slog.New(slog.DiscardHandler)
	openWith := func(ctx context.Context, passphrase string) error {
		root, err := keyring.PassphraseRoot([]byte(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		_, closeEngine, err := openWhenThere(ctx, "0", logger, func(ctx context.Context) (*vault.Engine, func(), error) {
			return OpenEngine(ctx, EngineConfig{DatabaseURL: database, Root: root, Logger: logger})
		})
		if err == nil {
			closeEngine()
		}
		return err
	}
	if err := openWith(t.Context(), "correct horse battery staple"); err != nil {
		t.Fatal(err)
	}
	if err := openWith(t.Context(), "another horse battery staple"); !errors.Is(err, keyring.ErrRootKey) {
		t.Errorf("a wrong root key: error %v, want ErrRootKey", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := openWhenThere(ctx, "0", logger, func(context.Context) (*vault.Engine, func(), error) {
		cancel()
		return nil, nil, fmt.Errorf("%w: it is down", secret.ErrUnavailable)
	})
	if err == nil {
		t.Error("no error when told to stop")
	}
}

func TestRootKeyFlags(t *testing.T) {
	parse := func(args ...string) (Config, error) {
		return ParseConfig(args, environment("POD_NAMESPACE", "n"), &strings.Builder{})
	}
	for want, args := range map[string][]string{
		"set --root-key-file, --root-kms-socket":           nil,
		"only one of --root-key-file, --root-kms-socket":   {"--root-key-file=a", "--root-kms-socket=/b"},
		"set --root-transit-address":                       {"--root-key-file=a", "--root-transit-key=coffer"},
		"only one of --root-previous-key-file, --root-pre": {"--root-key-file=a", "--root-previous-key-file=a", "--root-previous-kms-socket=/b"},
		"set --root-previous-transit-address":              {"--root-key-file=a", "--root-previous-transit-mount=m"},
	} {
		if _, err := parse(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one that says %q", args, err, want)
		}
	}
	c, err := parse("--root-transit-address=https://bao.example.com", "--root-transit-key=coffer", "--root-transit-kubernetes-role=coffer",
		"--root-previous-kms-socket=/run/kms.sock")
	if err != nil {
		t.Fatal(err)
	}
	if _, closeRoot, err := openRoot(c); err != nil {
		t.Error(err)
	} else {
		closeRoot()
	}
	c.PreviousRoot.KMSSocket = "kms.sock"
	if _, _, err := openRoot(c); err == nil || !strings.Contains(err.Error(), "the previous root key: ") {
		t.Errorf("error %v, want one about the previous root key", err)
	}
}
