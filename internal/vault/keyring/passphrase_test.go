package keyring_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/keyring"
)

const samplePassphrase = "correct horse battery staple"

func TestPassphraseRoot(t *testing.T) {
	wrapped, err := keyring.Generate(t.Context(), passphraseRoot(t, samplePassphrase))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		root keyring.Root
		want error
	}{
		"the same":            {passphraseRoot(t, samplePassphrase), nil},
		"with a newline":      {passphraseRoot(t, samplePassphrase+"\r\n"), nil},
		"another":             {passphraseRoot(t, samplePassphrase+"!"), keyring.ErrRootKey},
		"with a space":        {passphraseRoot(t, samplePassphrase+" "), keyring.ErrRootKey},
		"a key file":          {fileRoot(t, line("current", 1)), keyring.ErrRootKey},
		"a passphrase, later": {passphraseRoot(t, samplePassphrase), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := keyring.Load(t.Context(), tc.root, wrapped); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

func TestPassphraseRootOnAKeyFilesKeyset(t *testing.T) {
	wrapped, err := keyring.Generate(t.Context(), fileRoot(t, line("current", 1)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = keyring.Load(t.Context(), passphraseRoot(t, samplePassphrase), wrapped)
	if !errors.Is(err, keyring.ErrRootKey) || !strings.Contains(err.Error(), "not wrapped with a passphrase") {
		t.Errorf("error %v, want ErrRootKey that names the other kind", err)
	}
}

func TestPassphraseRootBindsHeaderAndAAD(t *testing.T) {
	root := passphraseRoot(t, samplePassphrase)
	wrapped, err := root.Wrap(t.Context(), []byte("keyset"), []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.Unwrap(t.Context(), wrapped, []byte("other")); !errors.Is(err, keyring.ErrRootKey) {
		t.Errorf("other aad: error %v, want ErrRootKey", err)
	}
	for bit := range len(wrapped) * 8 {
		if _, err := root.Unwrap(t.Context(), flip(wrapped, bit), []byte("aad")); !errors.Is(err, keyring.ErrRootKey) {
			t.Errorf("bit %d flipped: error %v, want ErrRootKey", bit, err)
		}
	}
	if _, err := root.Unwrap(t.Context(), nil, nil); !errors.Is(err, keyring.ErrRootKey) {
		t.Errorf("nothing: error %v, want ErrRootKey", err)
	}
}

func TestPassphraseRefusals(t *testing.T) {
	for _, passphrase := range []string{"", "\n", "fourteen bytes", "fourteen bytes\n"} {
		if _, err := keyring.PassphraseRoot([]byte(passphrase)); err == nil {
			t.Errorf("a passphrase of %d bytes was accepted", len(passphrase))
		}
	}
}

func TestPassphraseRootHeedsTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := keyring.Generate(ctx, passphraseRoot(t, samplePassphrase)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func passphraseRoot(tb testing.TB, passphrase string) keyring.Root {
	tb.Helper()
	root, err := keyring.CheapPassphraseRoot([]byte(passphrase))
	if err != nil {
		tb.Fatal(err)
	}
	return root
}
