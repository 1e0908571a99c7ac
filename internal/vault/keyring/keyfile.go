package keyring

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

// A key file's root writes the header
//
//	kind (1) | id of the root key (8)
//
// where the id is HKDF-SHA256-Expand(root key, "coffer/root-key-id"): it tells keys
// apart in messages and tells nothing about them.
const (
	rootKeyIDSize     = 8
	keyFileHeaderSize = 1 + rootKeyIDSize
	infoRootKeyID     = "coffer/root-key-id"
)

// maxKeyFileBytes bounds what is read: two keys and some comments.
const maxKeyFileBytes = 16 << 10

// othersMayAccess are the permission bits of everybody else. The group may read:
// that is how the kubelet shows a Secret to the user of a pod (fsGroup).
const othersMayAccess fs.FileMode = 0o007

const keyFileHelp = `write it with: printf 'current: %s\n' "$(head -c32 /dev/urandom | base64)"`

var errNotKeyFile = fmt.Errorf("%w: it was not wrapped with a key file; "+
	"start with the kind of root key that wrapped it", ErrRootKey)

// rootKey is one key of a key file, ready for use.
type rootKey struct {
	id  [rootKeyIDSize]byte
	box rootBox
}

// rootKeys are the keys of a key file as it was read once.
type rootKeys struct {
	current  rootKey
	previous *rootKey
}

// keyFileRoot reads its file for each use, which is a few times a day: a key that was
// put into it counts without a restart.
type keyFileRoot struct {
	file string
	// good are the keys as they were last read. They open the keyset when the file is
	// away or half written.
	good atomic.Pointer[rootKeys]
}

// KeyFileRoot reads root keys from a file with lines of a name and 32 bytes in
// base64:
//
//	# a comment
//	current: q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=
//	previous: …
//
// Wrap uses the current key; Unwrap also takes what the previous one wrapped, so
// that a root key can be replaced without stopping: the file is read again for each
// use. It is refused when it is readable or writable by others than its owner and
// group.
func KeyFileRoot(file string) (Root, error) {
	r := &keyFileRoot{file: file}
	if _, err := r.read(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *keyFileRoot) read() (*rootKeys, error) {
	text, err := readKeyFile(r.file)
	if err != nil {
		return nil, fmt.Errorf("read the root key file %s: %w", r.file, err)
	}
	defer clear(text)
	keys, err := parseKeyFile(text)
	if err != nil {
		return nil, fmt.Errorf("read the root key file %s: %w", r.file, err)
	}
	r.good.Store(keys)
	return keys, nil
}

func readKeyFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is none; %s", keyFileHelp)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if mode := info.Mode().Perm(); mode&othersMayAccess != 0 {
		return nil, fmt.Errorf("everybody on this machine has access to it (mode %#o); chmod 0400 it", mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFileBytes {
		return nil, fmt.Errorf("it has more than %d bytes", maxKeyFileBytes)
	}
	return text, nil
}

// parseKeyFile never puts any of the text into an error, nor makes a string of it
// that could not be cleared.
func parseKeyFile(text []byte) (*rootKeys, error) {
	keys := map[string]*rootKey{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		field, encoded, _ := bytes.Cut(line, []byte(":"))
		name := keyName(field)
		if name == "" {
			return nil, fmt.Errorf("line %d begins with neither \"current:\" nor \"previous:\"; %s", n, keyFileHelp)
		}
		if keys[name] != nil {
			return nil, fmt.Errorf("line %d gives the %s key a second time", n, name)
		}
		key, err := parseRootKey(bytes.TrimSpace(encoded))
		if err != nil {
			return nil, fmt.Errorf("the %s key on line %d %w", name, n, err)
		}
		keys[name] = key
	}
	if keys[nameCurrent] == nil {
		return nil, fmt.Errorf("it has no current key; %s", keyFileHelp)
	}
	return &rootKeys{*keys[nameCurrent], keys[namePrevious]}, nil
}

// The names that a key file knows.
const (
	nameCurrent  = "current"
	namePrevious = "previous"
)

func keyName(field []byte) string {
	switch name := string(field); name {
	case nameCurrent, namePrevious:
		return name
	default:
		return ""
	}
}

func parseRootKey(encoded []byte) (*rootKey, error) {
	key := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	defer clear(key)
	n, err := base64.StdEncoding.Strict().Decode(key, encoded)
	if err != nil {
		return nil, errors.New("is not base64; " + keyFileHelp)
	}
	if n != rootKeySize {
		return nil, fmt.Errorf("has %d bytes, not %d; %s", n, rootKeySize, keyFileHelp)
	}
	return newRootKey(key[:n])
}

func newRootKey(key []byte) (*rootKey, error) {
	id, err := hkdf.Expand(sha256.New, key, infoRootKeyID, rootKeyIDSize)
	if err != nil {
		return nil, fmt.Errorf("name the root key: %w", err)
	}
	box, err := newRootBox(key)
	if err != nil {
		return nil, err
	}
	return &rootKey{[rootKeyIDSize]byte(id), box}, nil
}

func (r *keyFileRoot) Wrap(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	keys, err := r.read()
	if err != nil {
		return nil, err
	}
	header := append([]byte{kindKeyFile}, keys.current.id[:]...)
	return keys.current.box.seal(header, plaintext, aad)
}

func (r *keyFileRoot) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < keyFileHeaderSize || wrapped[0] != kindKeyFile {
		return nil, errNotKeyFile
	}
	keys, err := r.read()
	if err != nil {
		keys = r.good.Load()
	}
	header, sealed := wrapped[:keyFileHeaderSize], wrapped[keyFileHeaderSize:]
	key, err := keys.withID([rootKeyIDSize]byte(header[1:]))
	if err != nil {
		return nil, err
	}
	plaintext, err := key.box.open(header, sealed, aad)
	if err != nil {
		return nil, fmt.Errorf("%w: it was changed after root key %x wrapped it", ErrRootKey, key.id)
	}
	return plaintext, nil
}

func (r *keyFileRoot) stale(_ context.Context, wrapped, _ []byte) (bool, error) {
	if len(wrapped) < keyFileHeaderSize || wrapped[0] != kindKeyFile {
		return false, errNotKeyFile
	}
	keys, err := r.read()
	if err != nil {
		return false, err
	}
	return keys.current.id != [rootKeyIDSize]byte(wrapped[1:keyFileHeaderSize]), nil
}

func (r *rootKeys) withID(id [rootKeyIDSize]byte) (rootKey, error) {
	if id == r.current.id {
		return r.current, nil
	}
	if r.previous == nil {
		return rootKey{}, fmt.Errorf("%w: root key %x wrapped it and the key file has only %x; "+
			"give the file the missing key as previous", ErrRootKey, id, r.current.id)
	}
	if id == r.previous.id {
		return *r.previous, nil
	}
	return rootKey{}, fmt.Errorf("%w: root key %x wrapped it and the key file has %x (current) and %x (previous); "+
		"give the file the missing key as previous", ErrRootKey, id, r.current.id, r.previous.id)
}
