package app

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/coffer-vault/coffer/internal/vault/keyring"
)

// RootKey says where a root key comes from: one of a key file, a passphrase, a KMS
// plugin and a transit engine.
type RootKey struct {
	KeyFile, PassphraseFile, KMSSocket string
	Transit                            keyring.TransitConfig

	// flags is what the names of its flags begin with.
	flags string
}

// bind adds the flags of the root key, --root-key-file and so on, or of the previous
// one, --root-previous-key-file and so on.
func (r *RootKey) bind(fs *flag.FlagSet, prefix, which string) {
	r.flags = prefix
	text := func(to *string, name, usage string) { fs.StringVar(to, prefix+name, "", which+usage) }
	text(&r.KeyFile, "key-file", "file with the root key (see docs/operations.md)")
	text(&r.PassphraseFile, "passphrase-file", "file with a passphrase to derive the root key from; for development")
	text(&r.KMSSocket, "kms-socket", "socket of a Kubernetes KMS v2 plugin that has the root key, such as unix:///run/kms/kms.sock")
	text(&r.Transit.Address, "transit-address", "URL of an OpenBao or Vault whose transit engine has the root key")
	text(&r.Transit.Key, "transit-key", "name of the transit key")
	text(&r.Transit.Mount, "transit-mount", "where the transit engine is mounted; transit when empty")
	text(&r.Transit.Namespace, "transit-namespace", "namespace in OpenBao or Vault")
	text(&r.Transit.CAFile, "transit-ca-file", "PEM certificates that sign the server's; the system's when empty")
	text(&r.Transit.TokenFile, "transit-token-file", "file with the token, read again for each request")
	text(&r.Transit.KubernetesRole, "transit-kubernetes-role", "role to log in as with the pod's service account, in place of a token file")
	text(&r.Transit.KubernetesMount, "transit-kubernetes-mount", "where the Kubernetes auth method is mounted; kubernetes when empty")
}

// given lists the flags that name a source.
func (r *RootKey) given() []string {
	var names []string
	for _, source := range []struct{ name, value string }{
		{"key-file", r.KeyFile}, {"passphrase-file", r.PassphraseFile}, {"kms-socket", r.KMSSocket}, {"transit-address", r.Transit.Address},
	} {
		if source.value != "" {
			names = append(names, "--"+r.flags+source.name)
		}
	}
	return names
}

// validate checks that there is one source, or, of the previous root key, at most one.
func (r *RootKey) validate(needed bool) error {
	given := r.given()
	switch {
	case len(given) > 1:
		return fmt.Errorf("two root keys: set only one of %s", strings.Join(given, ", "))
	case r.Transit.Address == "" && r.Transit != (keyring.TransitConfig{}):
		return fmt.Errorf("a --%stransit-… flag is set and no server: set --%[1]stransit-address", r.flags)
	case len(given) == 0 && needed:
		return fmt.Errorf("no root key: set --%skey-file, --%[1]skms-socket or --%[1]stransit-address (or, for development, --%[1]spassphrase-file)", r.flags)
	}
	return nil
}

// open returns the root key and what ends its use.
func (r *RootKey) open() (keyring.Root, func(), error) {
	nothing := func() {}
	switch {
	case r.KeyFile != "":
		root, err := keyring.KeyFileRoot(r.KeyFile)
		return root, nothing, err
	case r.PassphraseFile != "":
		passphrase, err := os.ReadFile(r.PassphraseFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read the root passphrase: %w", err)
		}
		defer clear(passphrase)
		root, err := keyring.PassphraseRoot(passphrase)
		return root, nothing, err
	case r.KMSSocket != "":
		root, closeRoot, err := keyring.KMSRoot(r.KMSSocket)
		if err != nil {
			return nil, nil, err
		}
		return root, func() { _ = closeRoot() }, nil
	case r.Transit.Address != "":
		root, err := keyring.TransitRoot(r.Transit)
		return root, nothing, err
	}
	return nil, nil, errors.New("no root key")
}

// openRoot opens the root key, and behind it the previous one when there is one.
func openRoot(c Config) (keyring.Root, func(), error) {
	current, closeCurrent, err := c.Root.open()
	if err != nil || len(c.PreviousRoot.given()) == 0 {
		return current, closeCurrent, err
	}
	previous, closePrevious, err := c.PreviousRoot.open()
	if err != nil {
		closeCurrent()
		return nil, nil, fmt.Errorf("the previous root key: %w", err)
	}
	return keyring.WithPrevious(current, previous), func() { closePrevious(); closeCurrent() }, nil
}
