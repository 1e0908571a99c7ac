package vault

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// openKeyring opens the keyset of the database's vault, making both when there is
// none.
func openKeyring(ctx context.Context, db *store.Store, root keyring.Root, clock func() time.Time) (store.ID, *keyring.Ring, error) {
	if clock == nil {
		clock = time.Now
	}
	vault, err := db.LoadOrCreateVault(ctx, func() (store.Vault, error) { return newVault(ctx, root, clock()) })
	if err != nil {
		return store.ID{}, nil, err
	}
	ring, err := keyring.Follow(ctx, root, db.WrappedKeyset)
	if err != nil {
		return store.ID{}, nil, fmt.Errorf("open the vault's keyset: %w; is this the root key that the vault was made with?", err)
	}
	return vault.ID, ring, signFirstKey(ctx, db, vault.ID, ring)
}

// newVault makes the row of a new vault and of its one key.
func newVault(ctx context.Context, root keyring.Root, now time.Time) (store.Vault, error) {
	wrapped, err := keyring.Generate(ctx, root)
	if err != nil {
		return store.Vault{}, fmt.Errorf("make the vault's keyset: %w", err)
	}
	ring, err := keyring.Load(ctx, root, wrapped)
	if err != nil {
		return store.Vault{}, fmt.Errorf("make the vault's keyset: %w", err)
	}
	v := store.Vault{ID: uuid.New(), WrappedKeyset: wrapped}
	v.Keys = firstKeys(ring, v.ID, now)
	return v, nil
}

// firstKeys are the rows of a keyset that never changed.
func firstKeys(ring Keyring, vaultID store.ID, createdAt time.Time) []store.Key {
	k := ring.Keyset()
	return []store.Key{signKey(ring, vaultID, k.Revision(), store.Key{
		ID: uint32(k.Primary()), State: string(KeyPrimary), CreatedAt: createdAt.UTC().Truncate(time.Microsecond),
	})}
}

// signFirstKey writes the row of a keyset from before keys had rows: the migration
// that made the table could not sign it.
func signFirstKey(ctx context.Context, db *store.Store, vaultID store.ID, ring *keyring.Ring) error {
	if ring.Keyset().Revision() != 0 {
		return nil
	}
	stored, err := db.Keyset(ctx)
	if err != nil {
		return err
	}
	for _, row := range stored.Keys {
		if row.ID == uint32(ring.Keyset().Primary()) && len(row.MAC) > 0 {
			return nil
		}
	}
	return db.InTx(ctx, func(tx *store.Tx) error {
		// A replica that changes the keyset just now writes the rows itself.
		same, err := tx.SwapKeyset(ctx, stored.Wrapped, stored.Wrapped)
		if err != nil || !same {
			return err
		}
		tx.WriteKeys(firstKeys(ring, vaultID, time.Now()))
		return tx.Flush(ctx)
	})
}

// startKeyring keeps the keyring up to date in the background; the returned function
// ends that and waits for it.
func (e *Engine) startKeyring(ctx context.Context, every, rootsEvery time.Duration) func() {
	if every == 0 {
		every = keyringEvery
	}
	if rootsEvery == 0 {
		rootsEvery = rootEvery
	}
	if e.replica.Name == "" {
		e.replica.Name = hostname()
	}
	e.lookAtKeyring(ctx)
	e.lookAtRoot(ctx)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.keepKeyring(ctx, every, rootsEvery)
	}()
	return func() {
		cancel()
		<-ended
		e.forgetReplica()
	}
}

// hostname is the pod's name in a pod.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
