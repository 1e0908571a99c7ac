package vault

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// keyringPart is what policies name the keyring.
var keyringPart = secret.System("keyring")

// KeyID names a key-encryption key.
type KeyID = keyring.KeyID

// KeyState is where a key-encryption key is on its way from added to destroyed.
type KeyState string

// The states.
const (
	// KeyPending: added, and not used yet, until every replica has it.
	KeyPending KeyState = "pending"
	// KeyPrimary: wraps the data keys of new versions. One key is primary.
	KeyPrimary KeyState = "primary"
	// KeyEnabled: was primary and may be again; opens what it wrapped.
	KeyEnabled KeyState = "enabled"
	// KeyRetired: never primary again; opens what it wrapped, and may be destroyed
	// when that is nothing.
	KeyRetired KeyState = "retired"
)

const (
	// rekeyFlow names the failpoints of every change of the keyset.
	rekeyFlow = "rekey"
	// maxKeysetSwaps bounds how often a change is tried again because the keyset
	// changed meanwhile.
	maxKeysetSwaps = 5
	// maxKeys bounds the keyset: rotations that nobody follows with a rewrap.
	maxKeys = 32
)

// AddKey makes a new key-encryption key, which is pending: nothing uses it before it
// is promoted. It needs the rotate capability on sys/keyring.
//
// Errors: secret.ErrDenied, secret.ErrKeyState when there are too many keys,
// secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) AddKey(ctx context.Context, caller secret.Caller) (id keyring.KeyID, err error) {
	err = e.changeKeys(ctx, caller, keyChange{action: audit.KeyAdd, need: policy.Rotate, plan: func(_ context.Context, b *keyBook) (keyPlan, error) {
		if len(b.keys) >= maxKeys {
			return keyPlan{}, fmt.Errorf("%w: there are %d keys already; rewrap, and destroy the old ones first", secret.ErrKeyState, len(b.keys))
		}
		next, added, err := b.keyset.Add()
		if err != nil {
			return keyPlan{}, err
		}
		id = added
		return keyPlan{next: next, states: map[keyring.KeyID]KeyState{id: KeyPending}, note: fmt.Sprintf("key %d is added", id)}, nil
	}})
	return id, err
}

// PromoteKey makes a pending or enabled key the one that wraps the data keys of new
// versions; the former one stays enabled. It waits, for some seconds, until every
// replica has loaded the key. It needs the rotate capability on sys/keyring. A key that is primary
// already stays so.
//
// Errors: secret.ErrDenied, secret.ErrInvalid when there is no such key,
// secret.ErrKeyState when it is retired or a replica has not loaded it (try again),
// secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) PromoteKey(ctx context.Context, caller secret.Caller, id keyring.KeyID) error {
	return e.changeKeys(ctx, caller, keyChange{action: audit.KeyPromote, need: policy.Rotate, plan: func(ctx context.Context, b *keyBook) (keyPlan, error) {
		switch state := b.state(id); state {
		case KeyPrimary:
			return keyPlan{}, nil
		case "":
			return keyPlan{}, noKey(id)
		case KeyRetired:
			return keyPlan{}, fmt.Errorf("%w: key %d is retired; add another one", secret.ErrKeyState, id)
		case KeyPending, KeyEnabled:
		}
		if err := e.waitForReplicas(ctx, b.keyset.Revision()); err != nil {
			return keyPlan{}, err
		}
		next, err := b.keyset.Promote(id)
		if err != nil {
			return keyPlan{}, err
		}
		states := map[keyring.KeyID]KeyState{id: KeyPrimary, b.keyset.Primary(): KeyEnabled}
		return keyPlan{next: next, states: states, note: fmt.Sprintf("key %d is primary, after key %d", id, b.keyset.Primary())}, nil
	}})
}

// RetireKey makes an enabled key one that will never be primary again. It needs the
// rotate capability on sys/keyring. A key that is retired already stays so.
//
// Errors: secret.ErrDenied, secret.ErrInvalid when there is no such key,
// secret.ErrKeyState when it is pending or primary, secret.ErrTampered,
// secret.ErrUnavailable.
func (e *Engine) RetireKey(ctx context.Context, caller secret.Caller, id keyring.KeyID) error {
	return e.changeKeys(ctx, caller, keyChange{action: audit.KeyRetire, need: policy.Rotate, plan: func(_ context.Context, b *keyBook) (keyPlan, error) {
		switch state := b.state(id); state {
		case KeyRetired:
			return keyPlan{}, nil
		case "":
			return keyPlan{}, noKey(id)
		case KeyPrimary:
			return keyPlan{}, fmt.Errorf("%w: key %d is the primary one; promote another one first", secret.ErrKeyState, id)
		case KeyPending:
			return keyPlan{}, fmt.Errorf("%w: key %d was never used; promote it, or destroy it", secret.ErrKeyState, id)
		case KeyEnabled:
		}
		next, err := b.keyset.Next()
		if err != nil {
			return keyPlan{}, err
		}
		return keyPlan{next: next, states: map[keyring.KeyID]KeyState{id: KeyRetired}, note: fmt.Sprintf("key %d is retired", id)}, nil
	}})
}

// DestroyKey removes a retired or pending key from the keyset for ever, when no
// version, also of a deleted path, needs it. It needs the delete capability on
// sys/keyring. A key that is not there is destroyed already.
//
// Errors: secret.ErrDenied, secret.ErrKeyState when the key is in use or not retired,
// secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) DestroyKey(ctx context.Context, caller secret.Caller, id keyring.KeyID) error {
	return e.changeKeys(ctx, caller, keyChange{action: audit.KeyDestroy, need: policy.Delete, plan: func(ctx context.Context, b *keyBook) (keyPlan, error) {
		state := b.state(id)
		switch state {
		case "":
			return keyPlan{}, nil
		case KeyPrimary, KeyEnabled:
			return keyPlan{}, fmt.Errorf("%w: key %d is %s; only a retired key, or one that was never used, is destroyed", secret.ErrKeyState, id, state)
		case KeyPending, KeyRetired:
		}
		uses, err := e.store.KeyUses(ctx)
		if err != nil {
			return keyPlan{}, err
		}
		if n := uses[uint32(id)]; n > 0 {
			return keyPlan{}, keyInUse(id, n)
		}
		next, err := b.keyset.Remove(id)
		if err != nil {
			return keyPlan{}, err
		}
		return keyPlan{next: next, destroyed: &id, note: fmt.Sprintf("key %d is destroyed", id)}, nil
	}})
}

func noKey(id keyring.KeyID) error {
	return fmt.Errorf("%w: the vault has no key %d; coffer keyring status lists them", secret.ErrInvalid, id)
}

func keyInUse(id keyring.KeyID, versions int64) error {
	return fmt.Errorf("%w: key %d still wraps the data keys of %d versions; rewrap them first", secret.ErrKeyState, id, versions)
}

// keyChange is one change of the keyset.
type keyChange struct {
	action audit.Action
	need   policy.Capability
	// plan decides from the stored keyset what is to be; nothing when keyPlan.next is
	// nil. It runs again when the keyset changed before its plan was carried out.
	plan func(context.Context, *keyBook) (keyPlan, error)
}

// keyPlan is a keyset and what becomes of the rows of its keys.
type keyPlan struct {
	next *keyring.Keyset
	// states are those that change.
	states    map[keyring.KeyID]KeyState
	destroyed *keyring.KeyID
	// note says in the audit log what was done.
	note string
}

var errKeysetMoved = errors.New("the keyset was changed meanwhile")

func (e *Engine) changeKeys(ctx context.Context, caller secret.Caller, c keyChange) (err error) {
	ctx, done := e.begin(ctx, c.action)
	defer func() { done(err) }()
	if err := e.admit(ctx, caller, c.action, keyringPart, c.need); err != nil {
		return err
	}
	failpoint.Hit(rekeyFlow, failpoint.Begun)
	r := request{caller: caller, action: c.action, ref: secret.Ref{Path: keyringPart}}
	return e.recordFailure(ctx, r, e.swapKeys(ctx, r, c))
}

// swapKeys carries out a change that was allowed, again when another one was faster.
func (e *Engine) swapKeys(ctx context.Context, r request, c keyChange) error {
	for range maxKeysetSwaps {
		if err := e.tryChangeKeys(ctx, r, c); !errors.Is(err, errKeysetMoved) {
			return err
		}
	}
	return fmt.Errorf("%w: others change the keyring at the same time; try again", secret.ErrKeyState)
}

// recordFailure audits an operation on the keyring that was allowed and cannot be, and returns its
// error.
func (e *Engine) recordFailure(ctx context.Context, r request, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, secret.ErrTampered), errors.Is(err, secret.ErrKeyState), errors.Is(err, secret.ErrInvalid):
		return e.record(ctx, r.fail(err, err.Error()))
	}
	return fmt.Errorf("%s %s: %w", r.action, r.ref.Path, err)
}

func (e *Engine) tryChangeKeys(ctx context.Context, r request, c keyChange) error {
	book, err := e.openKeyBook(ctx)
	if err != nil {
		return err
	}
	plan, err := c.plan(ctx, book)
	if err != nil || plan.next == nil {
		return err
	}
	wrapped, err := e.keyring.Seal(ctx, plan.next)
	if err != nil {
		return err
	}
	rows := book.rows(e, plan)
	err = e.transact(ctx, c.action, func(tx *store.Tx, record func(audit.Entry)) error {
		swapped, err := tx.SwapKeyset(ctx, book.wrapped, wrapped)
		if err != nil {
			return err
		}
		if !swapped {
			return errKeysetMoved
		}
		if plan.destroyed != nil {
			if err := tx.DeleteKey(ctx, uint32(*plan.destroyed)); err != nil {
				return err
			}
		}
		tx.DeleteUnusedKeys(book.foreign)
		tx.WriteKeys(rows)
		for _, finding := range book.findings {
			record(r.entry(audit.Failed, finding))
		}
		record(r.entry(audit.Allowed, fmt.Sprintf("%s; keyset revision %d", plan.note, plan.next.Revision())))
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		failpoint.Hit(rekeyFlow, failpoint.BeforeCommit)
		return nil
	})
	if errors.Is(err, store.ErrKeyInUse) {
		// Written since they were counted, by a replica that slept through the rotation.
		uses, err := e.store.KeyUses(ctx)
		if err != nil {
			return err
		}
		return keyInUse(*plan.destroyed, uses[uint32(*plan.destroyed)])
	}
	if err != nil {
		return err
	}
	failpoint.Hit(rekeyFlow, failpoint.AfterCommit)
	if _, err := e.keyring.Use(ctx, wrapped); err != nil {
		return err
	}
	e.heartbeat(ctx)
	return nil
}

// keyBook is the stored keyset, opened, and what its rows say.
type keyBook struct {
	wrapped []byte
	keyset  *keyring.Keyset
	// keys has the row of each key of the keyset, in the keyset's order.
	keys []store.Key
	// foreign are rows of keys that the keyset has not.
	foreign []uint32
	// findings are what somebody did to the rows.
	findings []string
}

// openKeyBook reads the stored keyset and the rows of its keys. What decides is the
// keyset, which the root key authenticates: a row that does not verify is a finding,
// and gives its key the least that the keyset says of it.
func (e *Engine) openKeyBook(ctx context.Context) (*keyBook, error) {
	var stored store.Keyset
	k, _, err := e.keyring.UseStored(ctx, func(ctx context.Context) (_ []byte, err error) {
		stored, err = e.store.Keyset(ctx)
		return stored.Wrapped, err
	})
	if err != nil {
		return nil, fmt.Errorf("open the vault's keyset: %w", err)
	}
	book := &keyBook{wrapped: stored.Wrapped, keyset: k}
	rows := map[keyring.KeyID]store.Key{}
	for _, row := range stored.Keys {
		id := keyring.KeyID(row.ID)
		if k.Has(id) {
			rows[id] = row
		} else {
			book.foreign = append(book.foreign, row.ID)
			book.findings = append(book.findings, fmt.Sprintf("key %d has a row and is not in the keyset", id))
		}
	}
	for _, id := range k.Keys() {
		row, ok := rows[id]
		switch finding := e.keyFinding(k, row, ok); finding {
		case "":
			book.keys = append(book.keys, row)
		default:
			book.findings = append(book.findings, fmt.Sprintf("the row of key %d %s", id, finding))
			book.keys = append(book.keys, store.Key{ID: uint32(id), State: string(stateIn(k, id)), CreatedAt: time.Unix(0, 0).UTC()})
		}
	}
	return book, nil
}

// keyFinding is what is wrong with the row of a key of the keyset.
func (e *Engine) keyFinding(k *keyring.Keyset, row store.Key, found bool) string {
	switch {
	case !found:
		return "is missing"
	case !hmac.Equal(row.MAC, keyMAC(e.keyring, e.vaultID, row)):
		return "fails its integrity check"
	case row.Revision != k.Revision():
		return fmt.Sprintf("is of revision %d and the keyset of revision %d: somebody put an older one back", row.Revision, k.Revision())
	}
	return ""
}

// stateIn is what a keyset alone tells about the state of a key.
func stateIn(k *keyring.Keyset, id keyring.KeyID) KeyState {
	if id == k.Primary() {
		return KeyPrimary
	}
	return KeyEnabled
}

// state is that of key id; empty when the vault has none.
func (b *keyBook) state(id keyring.KeyID) KeyState {
	for _, k := range b.keys {
		if keyring.KeyID(k.ID) == id {
			return KeyState(k.State)
		}
	}
	return ""
}

// rows are those of the keys after plan.
func (b *keyBook) rows(e *Engine, plan keyPlan) []store.Key {
	known := map[uint32]store.Key{}
	for _, k := range b.keys {
		known[k.ID] = k
	}
	var rows []store.Key
	for _, id := range plan.next.Keys() {
		row, ok := known[uint32(id)]
		if !ok {
			row = store.Key{ID: uint32(id), CreatedAt: e.now()}
		}
		if state, ok := plan.states[id]; ok {
			row.State = string(state)
		}
		rows = append(rows, signKey(e.keyring, e.vaultID, plan.next.Revision(), row))
	}
	return rows
}

// signKey is the row as it is stored beside the keyset of revision.
func signKey(ring Keyring, vaultID store.ID, revision int64, row store.Key) store.Key {
	row.Revision = revision
	row.MAC = keyMAC(ring, vaultID, row)
	return row
}
