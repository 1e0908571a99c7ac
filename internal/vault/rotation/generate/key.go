package generate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// Algorithm is a kind of key. EC keys are of the curves of FIPS 186.
type Algorithm string

// The algorithms.
const (
	RSA     Algorithm = "RSA"
	EC      Algorithm = "EC"
	Ed25519 Algorithm = "Ed25519"
)

// KeyPair is a private key and its public key.
type KeyPair struct {
	// Algorithm is Ed25519 when empty.
	Algorithm Algorithm `json:"algorithm,omitempty"`
	// Size in bits: of an RSA key 2048, 3072 (when 0) or 4096, of an EC key's curve 256 (when 0), 384 or 521.
	// An Ed25519 key has none.
	Size int `json:"size,omitempty"`
}

// sizes that an algorithm has; the first is the one when none is named.
var sizes = map[Algorithm][]int{
	RSA:     {3072, 2048, 4096},
	EC:      {256, 384, 521},
	Ed25519: {0},
}

func (k KeyPair) algorithm() Algorithm {
	if k.Algorithm == "" {
		return Ed25519
	}
	return k.Algorithm
}

func (k KeyPair) size() int {
	if k.Size == 0 {
		return sizes[k.algorithm()][0]
	}
	return k.Size
}

// Check says whether there are such keys.
func (k KeyPair) Check() error {
	known, ok := sizes[k.algorithm()]
	if !ok {
		return fmt.Errorf("%w: no keys are of the algorithm %q; there are RSA, EC and Ed25519", ErrSpec, k.Algorithm)
	}
	for _, size := range known {
		if k.size() == size {
			return nil
		}
	}
	if k.algorithm() == Ed25519 {
		return fmt.Errorf("%w: an Ed25519 key has one size only; leave out the size %d", ErrSpec, k.Size)
	}
	return fmt.Errorf("%w: no %s key is made with %d bits; there are %v", ErrSpec, k.algorithm(), k.Size, known)
}

func (k KeyPair) generate(Input) (map[string]string, error) {
	key, err := k.newKey()
	if err != nil {
		return nil, err
	}
	private, err := encodePrivate(key)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode a public key: %w", err)
	}
	return map[string]string{PrivateKeyProperty: private, PublicKeyProperty: encode("PUBLIC KEY", public)}, nil
}

// newKey makes a private key of the kind that Check passed.
func (k KeyPair) newKey() (key crypto.Signer, err error) {
	switch k.algorithm() {
	case RSA:
		key, err = rsa.GenerateKey(rand.Reader, k.size())
	case EC:
		curves := map[int]elliptic.Curve{256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}
		key, err = ecdsa.GenerateKey(curves[k.size()], rand.Reader)
	default:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("make a key of %s: %w", k.algorithm(), err)
	}
	return key, nil
}

func encodePrivate(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encode a private key: %w", err)
	}
	return encode("PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
