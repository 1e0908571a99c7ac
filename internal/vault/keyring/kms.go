package keyring

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/crypto/cryptobyte"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kmsv2 "k8s.io/kms/apis/v2"
)

// The limits of the KMS v2 protocol, as k8s.io/kms/apis/v2/api.proto states them and
// kube-apiserver checks them.
const (
	maxKMSKeyIDBytes      = 1 << 10
	maxKMSCiphertextBytes = 1 << 10
	maxKMSAnnotationBytes = 32 << 10
	maxAnnotationName     = 253 // a DNS name (RFC 1123)
)

// kmsCallTimeout is kube-apiserver's default for a call of a plugin. A call that
// finds no plugin waits for one that long.
const kmsCallTimeout = 3 * time.Second

// kmsRetries makes gRPC repeat a call that the plugin refused for a moment.
const kmsRetries = `{"methodConfig": [{
	"name": [{"service": "v2.KeyManagementService"}],
	"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"]}}]}`

var errNotKMS = fmt.Errorf("%w: it was not wrapped by a KMS plugin; "+
	"start with the kind of root key that wrapped it", ErrRootKey)

// kmsService speaks version 2 of Kubernetes' KMS plugin protocol. Its reference is
//
//	len (2) | key id | len (2) | ciphertext | len (2) | annotations
//
// where annotations, in the order of their names, are len (2) | name | len (2) | value.
type kmsService struct {
	client kmsv2.KeyManagementServiceClient
	socket string
}

// KMSRoot has the root key in a KMS, behind a plugin of Kubernetes' KMS v2 protocol
// that listens on the unix socket at an absolute path, with unix:// before it or not.
// The plugin need not run yet. Close what is returned when the root is not needed any
// more.
func KMSRoot(socket string) (Root, func() error, error) {
	path := strings.TrimPrefix(socket, "unix://")
	if !filepath.IsAbs(path) {
		return nil, nil, fmt.Errorf("use the KMS plugin at %q: give the absolute path of its socket, such as unix:///run/kms/kms.sock", socket)
	}
	conn, err := grpc.NewClient("unix://"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine; its mode protects it
		grpc.WithAuthority("localhost"),
		grpc.WithDefaultServiceConfig(kmsRetries),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("use the KMS plugin at %s: %w", path, err)
	}
	service := kmsService{kmsv2.NewKeyManagementServiceClient(conn), path}
	return remoteRoot{service, kindKMS, errNotKMS}, conn.Close, nil
}

// kmsReference is what must be kept to have a key decrypted.
type kmsReference struct {
	keyID       string
	ciphertext  []byte
	annotations map[string][]byte
}

func (s kmsService) encrypt(ctx context.Context, localKey []byte) ([]byte, error) {
	if _, err := s.keyID(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, kmsCallTimeout)
	defer cancel()
	answer, err := s.client.Encrypt(ctx, &kmsv2.EncryptRequest{Plaintext: localKey, Uid: uuid.NewString()})
	if err != nil {
		return nil, s.away("encrypt", err)
	}
	ref := kmsReference{answer.GetKeyId(), answer.GetCiphertext(), answer.GetAnnotations()}
	if err := ref.check(); err != nil {
		return nil, fmt.Errorf("the KMS plugin at %s breaks the protocol: %w; mend or replace the plugin", s.socket, err)
	}
	return ref.marshal()
}

func (s kmsService) decrypt(ctx context.Context, reference []byte) ([]byte, error) {
	ref, err := parseKMSReference(reference)
	if err != nil {
		return nil, err
	}
	callCtx, cancel := context.WithTimeout(ctx, kmsCallTimeout)
	defer cancel()
	answer, err := s.client.Decrypt(callCtx, &kmsv2.DecryptRequest{
		Ciphertext: ref.ciphertext, Uid: uuid.NewString(), KeyId: ref.keyID, Annotations: ref.annotations,
	})
	if err == nil {
		return answer.GetPlaintext(), nil
	}
	if mayPass(err) {
		return nil, s.away("decrypt", err)
	}
	// Plugins answer Unknown for nearly everything. One that says that it is well and
	// does not decrypt has not the key.
	if _, sick := s.keyID(ctx); sick != nil {
		return nil, sick
	}
	return nil, fmt.Errorf("%w: the KMS plugin at %s does not decrypt what its key %q encrypted: %s; "+
		"give the plugin the key that the vault was last wrapped with", ErrRootKey, s.socket, ref.keyID, status.Convert(err).Message())
}

func (s kmsService) moved(ctx context.Context, reference []byte) (bool, error) {
	ref, err := parseKMSReference(reference)
	if err != nil {
		return false, err
	}
	keyID, err := s.keyID(ctx)
	return keyID != ref.keyID, err
}

// keyID is the key that the plugin encrypts with, when it is well.
func (s kmsService) keyID(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsCallTimeout)
	defer cancel()
	answer, err := s.client.Status(ctx, &kmsv2.StatusRequest{})
	if err != nil {
		return "", s.away("give its status", err)
	}
	switch version := answer.GetVersion(); {
	case version != "v2" && version != "v2beta1":
		return "", fmt.Errorf("the KMS plugin at %s speaks version %q of the protocol; use one that speaks v2", s.socket, version)
	case answer.GetHealthz() != "ok":
		return "", away("the KMS plugin at %s says that it is not well: %q; see its log", s.socket, answer.GetHealthz())
	}
	if err := checkKMSKeyID(answer.GetKeyId()); err != nil {
		return "", fmt.Errorf("the KMS plugin at %s breaks the protocol: %w; mend or replace the plugin", s.socket, err)
	}
	return answer.GetKeyId(), nil
}

func (s kmsService) away(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return away("the KMS plugin at %s did not %s: %w; see that it runs and listens there", s.socket, doing, err)
}

// mayPass reports whether a call that failed so may succeed later with the same key.
func mayPass(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Aborted,
		codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return true
	default:
		return false
	}
}

func (r kmsReference) check() error {
	if err := checkKMSKeyID(r.keyID); err != nil {
		return err
	}
	if n := len(r.ciphertext); n == 0 || n > maxKMSCiphertextBytes {
		return fmt.Errorf("its ciphertext has %d bytes, not 1 to %d", n, maxKMSCiphertextBytes)
	}
	size := 0
	for name, value := range r.annotations {
		if name == "" || len(name) > maxAnnotationName || !utf8.ValidString(name) {
			return errors.New("the name of an annotation is not a domain name")
		}
		size += len(name) + len(value)
	}
	if size > maxKMSAnnotationBytes {
		return fmt.Errorf("its annotations have %d bytes, more than %d", size, maxKMSAnnotationBytes)
	}
	return nil
}

func checkKMSKeyID(id string) error {
	if id == "" || len(id) > maxKMSKeyIDBytes || !utf8.ValidString(id) {
		return fmt.Errorf("its key id has %d bytes, not 1 to %d of UTF-8", len(id), maxKMSKeyIDBytes)
	}
	return nil
}

func (r kmsReference) marshal() ([]byte, error) {
	var w cryptobyte.Builder
	addString(&w, []byte(r.keyID))
	addString(&w, r.ciphertext)
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, name := range slices.Sorted(maps.Keys(r.annotations)) {
			addString(w, []byte(name))
			addString(w, r.annotations[name])
		}
	})
	return w.Bytes()
}

func addString(w *cryptobyte.Builder, s []byte) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(s) })
}

func parseKMSReference(reference []byte) (kmsReference, error) {
	in := cryptobyte.String(reference)
	var id, ciphertext, annotations cryptobyte.String
	if !in.ReadUint16LengthPrefixed(&id) || !in.ReadUint16LengthPrefixed(&ciphertext) ||
		!in.ReadUint16LengthPrefixed(&annotations) || !in.Empty() {
		return kmsReference{}, errLocalKey
	}
	ref := kmsReference{keyID: string(id), ciphertext: ciphertext, annotations: map[string][]byte{}}
	for !annotations.Empty() {
		var name, value cryptobyte.String
		if !annotations.ReadUint16LengthPrefixed(&name) || !annotations.ReadUint16LengthPrefixed(&value) {
			return kmsReference{}, errLocalKey
		}
		ref.annotations[string(name)] = value
	}
	if ref.check() != nil {
		return kmsReference{}, errLocalKey
	}
	return ref, nil
}
