package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// defaultTransitMount is where OpenBao and Vault mount the transit engine by default.
const defaultTransitMount = "transit"

var errNotTransit = fmt.Errorf("%w: it was not wrapped by a transit engine; "+
	"start with the kind of root key that wrapped it", ErrRootKey)

// TransitConfig names a key of the transit engine of OpenBao or Vault, and how to
// log in: with a token from a file, or as a Kubernetes service account.
type TransitConfig struct {
	// Address is the server's URL, https://bao.example.com:8200; plain http only to
	// this machine, where an agent listens.
	Address string
	// Key is the name of the key; Mount where the engine is mounted, transit when empty.
	Key, Mount string
	// Namespace is sent with each request when it is not empty.
	Namespace string
	// CAFile holds the PEM certificates to trust in place of the system's.
	CAFile string
	// TokenFile is read for each request: an agent may renew the token in it.
	TokenFile string
	// KubernetesRole logs in at the auth method mounted at KubernetesMount (kubernetes
	// when empty) with the service account's token in JWTFile (the pod's own when
	// empty).
	KubernetesRole, KubernetesMount, JWTFile string
}

// transitService is a key of a transit engine. Its reference is
//
//	len (2) | mount/key | len (2) | ciphertext, as the engine writes it: vault:v3:…
type transitService struct {
	api *transitAPI
	key string
}

// TransitRoot has the root key in a transit engine, reached over HTTP. The token's
// policy must allow update on MOUNT/encrypt/KEY, MOUNT/decrypt/KEY and
// MOUNT/rewrap/KEY. The server need not answer yet.
func TransitRoot(c TransitConfig) (Root, error) {
	if c.Mount == "" {
		c.Mount = defaultTransitMount
	}
	c.Mount = strings.Trim(c.Mount, "/")
	if c.Key == "" || strings.ContainsAny(c.Key, "/?#%") || strings.ContainsAny(c.Mount, "?#%") {
		return nil, fmt.Errorf("use the transit key %q of %q: give the name of a key and of the engine's mount", c.Key, c.Mount)
	}
	api, err := newTransitAPI(c)
	if err != nil {
		return nil, fmt.Errorf("use the transit engine at %s: %w", c.Address, err)
	}
	return remoteRoot{transitService{api, c.Key}, kindTransit, errNotTransit}, nil
}

// name is mount/key.
func (s transitService) name() string { return s.api.mount + "/" + s.key }

type transitRequest struct {
	Plaintext  []byte `json:"plaintext,omitempty"` // encoding/json writes base64
	Ciphertext string `json:"ciphertext,omitempty"`
}

type transitAnswer struct {
	Plaintext  string `json:"plaintext"`
	Ciphertext string `json:"ciphertext"`
}

func (s transitService) encrypt(ctx context.Context, localKey []byte) ([]byte, error) {
	answer, err := s.api.transit(ctx, "encrypt", s.key, transitRequest{Plaintext: localKey})
	if err != nil {
		return nil, s.explain("encrypt", err)
	}
	if _, ok := keyVersion(answer.Ciphertext); !ok {
		return nil, fmt.Errorf("the transit engine at %s answered with no ciphertext; is %s its mount?", s.api.base, s.api.mount)
	}
	var w cryptobyte.Builder
	addString(&w, []byte(s.name()))
	addString(&w, []byte(answer.Ciphertext))
	return w.Bytes()
}

func (s transitService) decrypt(ctx context.Context, reference []byte) ([]byte, error) {
	ciphertext, err := s.ciphertext(reference)
	if err != nil {
		return nil, err
	}
	answer, err := s.api.transit(ctx, "decrypt", s.key, transitRequest{Ciphertext: ciphertext})
	if err != nil {
		return nil, s.explain("decrypt", err)
	}
	encoded := []byte(answer.Plaintext)
	key := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	n, err := base64.StdEncoding.Decode(key, encoded)
	if err != nil {
		return nil, errLocalKey
	}
	return key[:n], nil
}

// moved has the engine rewrap the ciphertext: the answer names the newest version of
// the key, without a right to read the key's settings.
func (s transitService) moved(ctx context.Context, reference []byte) (bool, error) {
	ciphertext, err := s.ciphertext(reference)
	if err != nil {
		return false, err
	}
	answer, err := s.api.transit(ctx, "rewrap", s.key, transitRequest{Ciphertext: ciphertext})
	if err != nil {
		return false, s.explain("rewrap", err)
	}
	was, _ := keyVersion(ciphertext)
	is, ok := keyVersion(answer.Ciphertext)
	return ok && is != was, nil
}

func (s transitService) ciphertext(reference []byte) (string, error) {
	name, ciphertext, ok := parseTransitReference(reference)
	if !ok {
		return "", errLocalKey
	}
	if name != s.name() {
		return "", fmt.Errorf("%w: the transit key %q wrapped it, and the one at hand is %q; "+
			"start with that key, or give it as the previous root key", ErrRootKey, name, s.name())
	}
	return ciphertext, nil
}

func parseTransitReference(reference []byte) (name, ciphertext string, ok bool) {
	in := cryptobyte.String(reference)
	var n, c cryptobyte.String
	if !in.ReadUint16LengthPrefixed(&n) || !in.ReadUint16LengthPrefixed(&c) || !in.Empty() {
		return "", "", false
	}
	if _, ok := keyVersion(string(c)); !ok {
		return "", "", false
	}
	return string(n), string(c), true
}

// keyVersion is N of vault:vN:….
func keyVersion(ciphertext string) (int, bool) {
	rest, ok := strings.CutPrefix(ciphertext, "vault:v")
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, ":")
	n, err := strconv.Atoi(number)
	return n, ok && err == nil && n > 0
}

// explain turns the server's refusal into what it means for the vault.
func (s transitService) explain(doing string, err error) error {
	var refusal *transitRefusal
	if !errors.As(err, &refusal) {
		return err
	}
	switch {
	case refusal.status == http.StatusForbidden:
		return away("%w; the token's policy must allow update on %s/%s/%s", err, s.api.mount, doing, s.key)
	case doing != "encrypt" && refusal.status == http.StatusBadRequest:
		return fmt.Errorf("%w: %w; give the key %q back the version that wrapped it, or restore the key", ErrRootKey, err, s.name())
	case refusal.status == http.StatusNotFound:
		return fmt.Errorf("%w: %w; is %q the mount of a transit engine, in this namespace?", ErrRootKey, err, s.api.mount)
	}
	return fmt.Errorf("%w; does the key %q exist? (bao write -f %s/keys/%s)", err, s.name(), s.api.mount, s.key)
}

// trimmed is the text of a token file.
func trimmed(text []byte) string { return string(bytes.TrimSpace(text)) }
