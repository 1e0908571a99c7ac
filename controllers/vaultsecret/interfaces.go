package vaultsecret

import (
	"context"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Vault is what the reconciler needs of the engine. Every call is authorised and
// audited behind it.
type Vault interface {
	// Resolve authorises the caller for every ref and returns the metadata of the
	// version each stands for, and those of the paths below each prefix that the
	// caller may read, at most limit of a prefix; it opens nothing. A prefix below
	// which there are none is denied. With an answer and with a denial comes the moment
	// at which it may be another by itself.
	Resolve(ctx context.Context, caller secret.Caller, refs []secret.Ref, prefixes []secret.Prefix, limit int) (secret.Resolution, error)
	// Read opens one version.
	Read(context.Context, secret.Caller, secret.Ref) (secret.Secret, error)
	// ReadAllowed opens the version that Resolve found a moment ago, by its decision.
	ReadAllowed(context.Context, secret.Caller, secret.Ref, secret.Allowed) (secret.Secret, error)
	Fingerprinter
}

// Acknowledger is told what the VaultSecrets of a cluster have. It writes nothing where it
// knows that already.
type Acknowledger interface {
	// Acknowledge is about those that batch names. An error that is secret.ErrTampered says
	// that all must be told anew.
	Acknowledge(ctx context.Context, cluster string, batch []secret.Acknowledgement) error
	// AcknowledgeAll is about all that there are in namespaces, in every namespace when that
	// is nil: others have gone.
	AcknowledgeAll(ctx context.Context, cluster string, namespaces []string, all []secret.Acknowledgement) error
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
