//go:build failpoints

package faults

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/coffer-vault/coffer/internal/vault"
)

// rootKeyFile is the text of a root key file with a new key, after that of an older one, if any.
func rootKeyFile(before string) (text string) {
	var key [32]byte
	_, _ = rand.Read(key[:])
	text = "current: " + base64.StdEncoding.EncodeToString(key[:]) + "\n"
	if current, _, found := strings.Cut(before, "\n"); found {
		text += strings.Replace(current, "current", "previous", 1) + "\n"
	}
	return text
}

// replaceRoot puts another root key into the file, and starts a process, which wraps the keyset anew under it.
func (w *worker) replaceRoot(ctx context.Context) error {
	file := os.Getenv(workerRoot)
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".next", []byte(rootKeyFile(string(before))), 0o600); err != nil {
		return err
	}
	if err := os.Rename(file+".next", file); err != nil {
		return err
	}
	engine, closeEngine, err := open(ctx, vault.Options{DatabaseURL: os.Getenv(workerDSN)}, file)
	if err != nil {
		return err
	}
	defer closeEngine()
	status, err := engine.KeyringStatus(ctx, admin("root"))
	if err == nil && status.Root.State != vault.RootCurrent {
		err = fmt.Errorf("the keyset is under the root key %s, which is %s", status.Root.RootInfo, status.Root.State)
	}
	return err
}
