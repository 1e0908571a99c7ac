package keyring

import (
	"context"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

// sealedKeyset is a Tink keyset as a root wrapped it, on its way out of and into
// Tink. Tink also writes a summary of the keys that nothing authenticates, and needs
// none to read: it is dropped.
type sealedKeyset []byte

var errNoCleartext = errors.New("keyring: keysets are never written or read in the clear")

// Write refuses: see keyset.Writer.
func (*sealedKeyset) Write(*tinkpb.Keyset) error { return errNoCleartext }

// WriteEncrypted keeps the encrypted bytes.
func (s *sealedKeyset) WriteEncrypted(k *tinkpb.EncryptedKeyset) error {
	*s = k.GetEncryptedKeyset()
	return nil
}

// Read refuses: see keyset.Reader.
func (*sealedKeyset) Read() (*tinkpb.Keyset, error) { return nil, errNoCleartext }

// ReadEncrypted gives the encrypted bytes to Tink.
func (s *sealedKeyset) ReadEncrypted() (*tinkpb.EncryptedKeyset, error) {
	return &tinkpb.EncryptedKeyset{EncryptedKeyset: *s}, nil
}

// rootAEAD shows a Root to Tink, and remembers the root's error, which Tink flattens
// to text.
type rootAEAD struct {
	root Root
	err  error
}

// EncryptWithContext implements tink.AEADWithContext.
func (r *rootAEAD) EncryptWithContext(ctx context.Context, plaintext, aad []byte) (wrapped []byte, err error) {
	wrapped, r.err = r.root.Wrap(ctx, plaintext, aad)
	return wrapped, r.err
}

// DecryptWithContext implements tink.AEADWithContext.
func (r *rootAEAD) DecryptWithContext(ctx context.Context, wrapped, aad []byte) (plaintext []byte, err error) {
	plaintext, r.err = r.root.Unwrap(ctx, wrapped, aad)
	return plaintext, r.err
}

func sealKeyset(ctx context.Context, root Root, handle *keyset.Handle, aad []byte) ([]byte, error) {
	var sealed sealedKeyset
	door := &rootAEAD{root: root}
	if err := handle.WriteWithContext(ctx, &sealed, door, aad); err != nil {
		return nil, fmt.Errorf("wrap the keyset under the root key: %w", door.orElse(err))
	}
	return sealed, nil
}

func openKeyset(ctx context.Context, root Root, sealed, aad []byte) (*keyset.Handle, error) {
	door := &rootAEAD{root: root}
	in := sealedKeyset(sealed)
	handle, err := keyset.ReadWithContext(ctx, &in, door, aad)
	if err != nil {
		return nil, fmt.Errorf("unwrap the keyset: %w", door.orElse(err))
	}
	return handle, nil
}

// orElse is the root's error, or err when the root did its part.
func (r *rootAEAD) orElse(err error) error {
	if r.err != nil {
		return r.err
	}
	return err
}
