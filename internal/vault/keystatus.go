package vault

import (
	"context"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// KeyringStatus is the vault's keys and who has them.
type KeyringStatus struct {
	// Revision counts the changes of the keyset; 0 before the first.
	Revision int64
	// Root is what wraps the keyset.
	Root     RootStatus
	Keys     []KeyStatus
	Replicas []ReplicaStatus
	// Findings are what somebody did to the rows of the keys, past the vault; each is
	// in the audit log too. The next change of the keyset writes the rows anew.
	Findings []string
}

// RootStatus is the root key that the stored keyset is wrapped by.
type RootStatus struct {
	keyring.RootInfo
	State RootState
}

// RootState is whether the root key that wraps the keyset is the one that this
// replica would wrap it by now.
type RootState string

// The states of the root key.
const (
	// RootCurrent: it is.
	RootCurrent RootState = "current"
	// RootMoving: another root key was given, or the key was rotated where it is; the
	// keyset is wrapped anew within rootEvery, and this one is needed until then.
	RootMoving RootState = "moving"
	// RootUnknown: the root key could not be asked now, or this replica has one that
	// does not open the keyset; its log says which. It serves with the keys it has.
	RootUnknown RootState = "unknown"
)

// rootAnswerTime bounds the question to a root key that is elsewhere: one that hangs
// must not hide the rest of the status.
const rootAnswerTime = 3 * time.Second

// KeyStatus is one key-encryption key.
type KeyStatus struct {
	ID    keyring.KeyID
	State KeyState
	// CreatedAt is zero when the key's row was lost.
	CreatedAt time.Time
	// Versions counts those whose data key it wraps, deleted paths included.
	Versions int64
}

// ReplicaStatus is one process that serves the vault.
type ReplicaStatus struct {
	Name string
	// Revision of the keyset it has loaded.
	Revision int64
	SeenAt   time.Time
}

// KeyringStatus describes the keyring. It needs the read capability on sys/keyring.
//
// Errors: secret.ErrDenied, secret.ErrTampered when the stored keyset is an older one
// put back, secret.ErrUnavailable.
func (e *Engine) KeyringStatus(ctx context.Context, caller secret.Caller) (_ KeyringStatus, err error) {
	ctx, done := e.begin(ctx, audit.KeyringStatus)
	defer func() { done(err) }()
	if err := e.admit(ctx, caller, audit.KeyringStatus, keyringPart, policy.Read); err != nil {
		return KeyringStatus{}, err
	}
	r := request{caller: caller, action: audit.KeyringStatus, ref: secret.Ref{Path: keyringPart}}
	book, err := e.openKeyBook(ctx)
	if err != nil {
		return KeyringStatus{}, e.recordFailure(ctx, r, err)
	}
	for _, finding := range book.findings {
		if err := e.record(ctx, verdict{entry: r.entry(audit.Failed, finding)}); err != nil {
			return KeyringStatus{}, err
		}
	}
	return e.keyringStatus(ctx, book)
}

func (e *Engine) keyringStatus(ctx context.Context, book *keyBook) (KeyringStatus, error) {
	uses, err := e.store.KeyUses(ctx)
	if err != nil {
		return KeyringStatus{}, err
	}
	replicas, err := e.store.Replicas(ctx, replicaGone)
	if err != nil {
		return KeyringStatus{}, err
	}
	status := KeyringStatus{Revision: book.keyset.Revision(), Root: e.rootStatus(ctx, book.wrapped), Findings: book.findings}
	for _, k := range book.keys {
		key := KeyStatus{ID: keyring.KeyID(k.ID), State: KeyState(k.State), Versions: uses[k.ID]}
		if k.CreatedAt.Unix() != 0 {
			key.CreatedAt = k.CreatedAt.UTC()
		}
		status.Keys = append(status.Keys, key)
	}
	for _, r := range replicas {
		status.Replicas = append(status.Replicas, ReplicaStatus{Name: r.Name, Revision: r.KeysetRevision, SeenAt: r.SeenAt.UTC()})
	}
	return status, nil
}

func (e *Engine) rootStatus(ctx context.Context, wrapped []byte) RootStatus {
	ctx, cancel := context.WithTimeout(ctx, rootAnswerTime)
	defer cancel()
	status := RootStatus{RootInfo: keyring.DescribeRoot(wrapped), State: RootCurrent}
	switch moved, err := e.keyring.RootMoved(ctx, wrapped); {
	case err != nil:
		e.logger.WarnContext(ctx, "the root key cannot say whether it is the current one", "root", status.String(), "error", err)
		status.State = RootUnknown
	case moved:
		status.State = RootMoving
	}
	return status
}
