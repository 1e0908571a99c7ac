package vaultsecret

import (
	"context"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Vault is what the reconciler needs of the engine. Every call is authorised and
// audited behind it.
type Vault interface {
	// Check authorises the caller for every ref and returns the metadata of the
	// version each stands for; it opens nothing.
	Check(context.Context, secret.Caller, []secret.Ref) ([]secret.Metadata, error)
	// Read opens one version.
	Read(context.Context, secret.Caller, secret.Ref) (secret.Secret, error)
	Fingerprinter
}

// Fingerprinter makes keyed checksums, which can stand on Kubernetes objects
// without telling anything of what they are made from.
type Fingerprinter interface {
	Fingerprint(domain string, data ...[]byte) string
}

// ChangeSource delivers the changes of the vault, at least once each, until ctx
// ends. It begins far enough back that a change between the start of Follow and
// the first reconciles is not lost.
type ChangeSource interface {
	Follow(context.Context, func(context.Context, []changes.Change) error) error
}
