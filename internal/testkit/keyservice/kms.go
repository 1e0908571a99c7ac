// Package keyservice runs the other side of remote root keys for tests: a KMS v2
// plugin on a unix socket, and the transit engine's HTTP API as OpenBao and Vault
// document it. Both hold keys of their own, which are the same in every run.
package keyservice

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	kmsv2 "k8s.io/kms/apis/v2"
)

// seal and open are AES-256-GCM under the key that name names.
func seal(name string, plaintext []byte) []byte {
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	return gcm(name).Seal(nonce, nonce, plaintext, nil)
}

func open(name string, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) < 12 {
		return nil, errors.New("cipher: message authentication failed")
	}
	return gcm(name).Open(nil, ciphertext[:12], ciphertext[12:], nil)
}

func gcm(name string) cipher.AEAD {
	key := sha256.Sum256([]byte(name))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// annotation is one that the plugin gives and wants back.
const annotation = "version.plugin.example.com"

// KMS is a plugin. Its zero fields are a plugin that is well; Change them.
type KMS struct {
	kmsv2.UnimplementedKeyManagementServiceServer
	// Socket is where it listens, or will.
	Socket string

	mu     sync.Mutex
	behave KMSBehaviour
	server *grpc.Server
}

// KMSBehaviour is how a plugin answers.
type KMSBehaviour struct {
	// KeyID, Version and Healthz are of Status; key-1, v2 and ok when empty. The key
	// id also names the key.
	KeyID, Version, Healthz string
	// Fail is what every call but Status fails with.
	Fail error
	// Ciphertext, when not nil, is what Encrypt answers.
	Ciphertext []byte
}

// NewKMS prepares a plugin that does not run yet.
func NewKMS(t testing.TB) *KMS {
	t.Helper()
	return &KMS{Socket: filepath.Join(t.TempDir(), "kms.sock")}
}

// StartKMS runs a plugin until the test ends.
func StartKMS(t testing.TB) *KMS {
	t.Helper()
	k := NewKMS(t)
	k.Start(t)
	return k
}

// Start runs the plugin until Stop or the end of the test.
func (k *KMS) Start(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("unix", k.Socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	kmsv2.RegisterKeyManagementServiceServer(server, k)
	k.mu.Lock()
	k.server = server
	k.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
}

// Stop ends the plugin.
func (k *KMS) Stop() {
	k.mu.Lock()
	server := k.server
	k.mu.Unlock()
	server.Stop()
}

// Change makes the plugin answer otherwise.
func (k *KMS) Change(b KMSBehaviour) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.behave = b
}

func (k *KMS) behaviour() KMSBehaviour {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.behave
	for field, standard := range map[*string]string{&b.KeyID: "key-1", &b.Version: "v2", &b.Healthz: "ok"} {
		if *field == "" {
			*field = standard
		}
	}
	return b
}

// Status implements kmsv2.KeyManagementServiceServer.
func (k *KMS) Status(context.Context, *kmsv2.StatusRequest) (*kmsv2.StatusResponse, error) {
	b := k.behaviour()
	return &kmsv2.StatusResponse{Version: b.Version, Healthz: b.Healthz, KeyId: b.KeyID}, nil
}

// Encrypt implements kmsv2.KeyManagementServiceServer.
func (k *KMS) Encrypt(_ context.Context, r *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	b := k.behaviour()
	if b.Fail != nil {
		return nil, b.Fail
	}
	ciphertext := b.Ciphertext
	if ciphertext == nil {
		ciphertext = seal(b.KeyID, r.GetPlaintext())
	}
	return &kmsv2.EncryptResponse{Ciphertext: ciphertext, KeyId: b.KeyID, Annotations: map[string][]byte{annotation: []byte("1")}}, nil
}

// Decrypt implements kmsv2.KeyManagementServiceServer. It has every key there ever
// was.
func (k *KMS) Decrypt(_ context.Context, r *kmsv2.DecryptRequest) (*kmsv2.DecryptResponse, error) {
	if b := k.behaviour(); b.Fail != nil {
		return nil, b.Fail
	}
	if string(r.GetAnnotations()[annotation]) != "1" || len(r.GetAnnotations()) != 1 {
		return nil, errors.New("annotations are not those that were given")
	}
	plaintext, err := open(r.GetKeyId(), r.GetCiphertext())
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return &kmsv2.DecryptResponse{Plaintext: plaintext}, nil
}
