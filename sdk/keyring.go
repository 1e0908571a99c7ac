package sdk

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// KeyringStatus is the vault's key-encryption keys, what wraps them and who has them.
type KeyringStatus struct {
	Revision int64            `json:"revision" doc:"Counts the changes of the keyset"`
	Root     KeyringRoot      `json:"root" doc:"The root key that wraps the stored keyset"`
	Keys     []KeyringKey     `json:"keys" nullable:"false" doc:"The keys, oldest first"`
	Replicas []KeyringReplica `json:"replicas" nullable:"false" doc:"The replicas seen in the last 15 seconds"`
	Findings []string         `json:"findings,omitempty" nullable:"false" doc:"What somebody did to the rows of the keys, past the vault"`
}

// The states of the root key.
const (
	// RootCurrent is the state of the root key that the replica which answers would
	// wrap the keyset by.
	RootCurrent = "current"
	// RootMoving says that the keyset is about to be wrapped by another root key, and
	// that the former one is needed until then.
	RootMoving = "moving"
	// RootUnknown says that the root key did not answer, or does not open the keyset.
	RootUnknown = "unknown"
)

// KeyringRoot is the root key that wraps the stored keyset, without the key.
type KeyringRoot struct {
	Kind  string `json:"kind" doc:"key-file, passphrase, kms or transit; unknown for one of a newer release" example:"key-file"`
	KeyID string `json:"keyId,omitempty" doc:"Which key: its id in the key file in hex, the KMS plugin's key id, or mount/key and version for transit; absent for a passphrase"`
	State string `json:"state" doc:"current; moving while the keyset is about to be wrapped by another one; unknown when it does not answer" enum:"current,moving,unknown"`
}

// The states of a key.
const (
	KeyPending = "pending"
	KeyPrimary = "primary"
	KeyEnabled = "enabled"
	KeyRetired = "retired"
)

// KeyringKey is one key-encryption key, without the key.
type KeyringKey struct {
	ID        uint32    `json:"id" format:"int64" doc:"Id of the key" example:"2843671337"`
	State     string    `json:"state" doc:"pending, primary, enabled or retired" enum:"pending,primary,enabled,retired"`
	CreatedAt time.Time `json:"createdAt,omitzero" doc:"When the key was made; absent when its row was lost"`
	Versions  int64     `json:"versions" doc:"Stored versions whose data key it wraps, deleted paths included"`
}

// KeyringReplica is one process that serves the vault.
type KeyringReplica struct {
	Name     string    `json:"name" doc:"Name of the pod or the host"`
	Revision int64     `json:"revision" doc:"Revision of the keyset that it has loaded"`
	SeenAt   time.Time `json:"seenAt" doc:"When it last said so"`
}

// KeyringAdded names a new key.
type KeyringAdded struct {
	ID uint32 `json:"id" format:"int64" doc:"Id of the key" example:"2843671337"`
}

// RewrapProgress is what one call of KeyringRewrap did.
type RewrapProgress struct {
	Rewrapped int64 `json:"rewrapped" doc:"Versions that this call wrapped anew"`
	Remaining int64 `json:"remaining" doc:"Versions that are not under the primary key yet"`
	Failed    int64 `json:"failed" doc:"Versions among them whose data key does not open; the audit log names them"`
}

// KeyringStatus describes the keyring. It needs the read capability on sys/keyring.
func (c *Client) KeyringStatus(ctx context.Context) (KeyringStatus, error) {
	var out KeyringStatus
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/keyring", repeatable: true}, &out)
	return out, err
}

// KeyringAdd makes a new key, which is not used before it is promoted. It needs the
// rotate capability on sys/keyring. When the answer is lost, KeyringStatus shows
// whether there is a pending key.
func (c *Client) KeyringAdd(ctx context.Context) (id uint32, err error) {
	var out KeyringAdded
	err = c.call(ctx, call{method: http.MethodPost, route: "/v1/keyring/keys"}, &out)
	return out.ID, err
}

// KeyringPromote makes a pending or enabled key the one that wraps what is written
// from now on. It fails with CodeKeyState while a replica has not loaded the key. It needs the
// rotate capability on sys/keyring.
func (c *Client) KeyringPromote(ctx context.Context, id uint32) error {
	return c.call(ctx, call{method: http.MethodPost, route: keyRoute(id) + "/promote", repeatable: true}, nil)
}

// KeyringRetire makes an enabled key one that is never promoted again. It needs the
// rotate capability on sys/keyring.
func (c *Client) KeyringRetire(ctx context.Context, id uint32) error {
	return c.call(ctx, call{method: http.MethodPost, route: keyRoute(id) + "/retire", repeatable: true}, nil)
}

// KeyringDestroy removes a retired or pending key for ever. It fails with
// CodeKeyState while a version needs it. It needs the delete capability on
// sys/keyring.
func (c *Client) KeyringDestroy(ctx context.Context, id uint32) error {
	return c.call(ctx, call{method: http.MethodDelete, route: keyRoute(id), repeatable: true}, nil)
}

// KeyringRewrap wraps data keys anew under the primary key, for about two seconds:
// call it until Remaining is Failed. Several callers share the work. It needs the
// rotate capability on sys/keyring.
func (c *Client) KeyringRewrap(ctx context.Context) (RewrapProgress, error) {
	var out RewrapProgress
	err := c.call(ctx, call{method: http.MethodPost, route: "/v1/keyring/rewrap", repeatable: true}, &out)
	return out, err
}

func keyRoute(id uint32) string { return "/v1/keyring/keys/" + strconv.FormatUint(uint64(id), 10) }
