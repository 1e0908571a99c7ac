package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

// vaultIsMadeOnce: of many that find no vault one makes it, and all get that one.
func (s *suite) vaultIsMadeOnce(t *testing.T) {
	mine := errors.New("mine")
	if _, err := s.one.LoadOrCreateVault(t.Context(), func() (store.Vault, error) { return store.Vault{}, mine }); !errors.Is(err, mine) {
		t.Errorf("the function's error came back as %v", err)
	}
	var made atomic.Int64
	found := make([]store.Vault, 6)
	var wait sync.WaitGroup
	for i := range found {
		wait.Go(func() {
			var err error
			found[i], err = []*store.Store{s.one, s.two}[i%2].LoadOrCreateVault(t.Context(), func() (store.Vault, error) {
				made.Add(1)
				return store.Vault{
					ID: uuid.New(), WrappedKeyset: []byte("keyset"),
					Keys: []store.Key{{ID: keyID, State: "primary", CreatedAt: created, MAC: []byte("mac")}},
				}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, v := range found {
		if made.Load() != 1 || v.ID != found[0].ID || string(v.WrappedKeyset) != "keyset" {
			t.Errorf("made %d times: %x and %x", made.Load(), v.ID, found[0].ID)
		}
	}
}

// keysetIsSwapped only by who knows the stored one, with the rows of its keys.
func (s *suite) keysetIsSwapped(t *testing.T) {
	before, err := s.one.Keyset(t.Context())
	must(t, err)
	const writers = 6
	var won atomic.Int64
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			err := []*store.Store{s.one, s.two}[i%2].InTx(t.Context(), func(tx *store.Tx) error {
				swapped, err := tx.SwapKeyset(t.Context(), before.Wrapped, fmt.Appendf(nil, "keyset of %d", i))
				if err != nil || !swapped {
					return err
				}
				won.Add(1)
				tx.WriteKeys([]store.Key{
					{ID: 1<<32 - 1, State: fmt.Sprint(i), CreatedAt: created.Add(time.Hour), Revision: 2, MAC: []byte("new")},
					{ID: keyID, State: "enabled", CreatedAt: created, Revision: 2, MAC: []byte("newer")},
				})
				return tx.Flush(t.Context())
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	after, err := s.two.Keyset(t.Context())
	must(t, err)
	if won.Load() != 1 || len(after.Keys) != 2 || string(after.Wrapped) != "keyset of "+after.Keys[1].State {
		t.Fatalf("%d won: %+v", won.Load(), after)
	}
	if k := after.Keys[0]; k.ID != keyID || k.State != "enabled" || !k.CreatedAt.Equal(created) || k.Revision != 2 || string(k.MAC) != "newer" {
		t.Errorf("the older key: %+v", k)
	}
	if k := after.Keys[1]; k.ID != 1<<32-1 {
		t.Errorf("the newer key: %+v", k)
	}
	failed := errors.New("not after all")
	err = s.one.InTx(t.Context(), func(tx *store.Tx) error {
		if swapped, err := tx.SwapKeyset(t.Context(), after.Wrapped, []byte("none")); err != nil || !swapped {
			t.Errorf("swapped %v, %v", swapped, err)
		}
		return failed
	})
	if wrapped, readErr := s.two.WrappedKeyset(t.Context()); !errors.Is(err, failed) || readErr != nil || !slices.Equal(wrapped, after.Wrapped) {
		t.Errorf("after a swap that was rolled back (%v): %q, %v", err, wrapped, readErr)
	}
}

// addKey writes the row of one more key.
func (s *suite) addKey(t *testing.T, id uint32) {
	t.Helper()
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		tx.WriteKeys([]store.Key{{ID: id, State: "enabled", CreatedAt: created, MAC: []byte("mac")}})
		return tx.Flush(t.Context())
	}))
}

// keyInUseIsNotDeleted, neither by one who does not see the version yet, nor is a
// version written under a key that is deleted meanwhile.
func (s *suite) keyInUseIsNotDeleted(t *testing.T) {
	const id = 8
	s.addKey(t, id)
	row := s.write(t, s.path())
	under := func(number int64) func(*store.Tx) error {
		return func(tx *store.Tx) error {
			v := version(row, number)
			v.WrappedKey = wrappedBy(id, "data key")
			tx.InsertVersion(v, nil)
			return tx.Flush(context.Background())
		}
	}
	remove := func(tx *store.Tx) error { return tx.DeleteKey(context.Background(), id) }

	// A writer under way makes the deletion wait, and then fail.
	release := held(t, s.one, under(2))
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var once sync.Once
		ended <- s.two.InTx(context.Background(), func(tx *store.Tx) error {
			once.Do(func() { close(began) })
			return remove(tx)
		})
	}()
	<-began
	must(t, release(nil))
	if err := <-ended; !errors.Is(err, store.ErrKeyInUse) {
		t.Errorf("a key was deleted while a version was written under it: %v", err)
	}
	uses, err := s.one.KeyUses(t.Context())
	must(t, err)
	if uses[id] != 1 {
		t.Errorf("uses %v", uses)
	}

	// A deletion under way makes a writer wait, and then fail.
	const other = 9
	s.addKey(t, other)
	release = held(t, s.two, func(tx *store.Tx) error { return tx.DeleteKey(context.Background(), other) })
	began = make(chan struct{})
	go func() {
		var once sync.Once
		ended <- s.one.InTx(context.Background(), func(tx *store.Tx) error {
			once.Do(func() { close(began) })
			v := version(row, 3)
			v.WrappedKey = wrappedBy(other, "data key")
			tx.InsertVersion(v, nil)
			return tx.Flush(context.Background())
		})
	}()
	<-began
	must(t, release(nil))
	if err := <-ended; !errors.Is(err, store.ErrKeyGone) {
		t.Errorf("a version was written under a key that was deleted: %v", err)
	}
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		tx.DeleteUnusedKeys([]uint32{id, other})
		return tx.Flush(t.Context())
	}))
	if set, err := s.one.Keyset(t.Context()); err != nil || !slices.ContainsFunc(set.Keys, func(k store.Key) bool { return k.ID == id }) {
		t.Errorf("a key in use was deleted as an unused one: %v", err)
	}
}

// rewrapsShareTheWork: what one holds another passes over, and who comes late replaces
// nothing.
func (s *suite) rewrapsShareTheWork(t *testing.T) {
	const old = 10
	s.addKey(t, old)
	row := s.write(t, s.path())
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		for number := int64(2); number <= 7; number++ {
			v := version(row, number)
			v.WrappedKey = wrappedBy(old, fmt.Sprint(number))
			tx.InsertVersion(v, nil)
		}
		return tx.Flush(t.Context())
	}))
	lock := func(tx *store.Tx, except []store.WrappedKey) []store.WrappedKey {
		found, err := tx.LockWrappedKeys(context.Background(), []uint32{old}, except, 3)
		if err != nil {
			t.Error(err)
		}
		return found
	}
	var mine, others []store.WrappedKey
	release := held(t, s.one, func(tx *store.Tx) error { mine = lock(tx, nil); return nil })
	must(t, s.two.InTx(t.Context(), func(tx *store.Tx) error {
		others = lock(tx, nil)
		wrapped := make([][]byte, len(others))
		for i := range others {
			wrapped[i] = wrappedBy(keyID, "again")
		}
		stale := slices.Clone(others)
		stale[0].Wrapped = []byte("what it was before")
		if n, err := tx.SwapWrappedKeys(t.Context(), stale, wrapped); err != nil || n != int64(len(others)-1) {
			t.Errorf("swapped %d of %d with a stale one, %v", n, len(others), err)
		}
		return nil
	}))
	must(t, release(nil))
	if len(mine) != 3 || len(others) != 3 {
		t.Fatalf("%d and %d locked", len(mine), len(others))
	}
	for _, w := range mine {
		if w.Path != row.Path || w.SecretID != row.ID || slices.ContainsFunc(others, func(o store.WrappedKey) bool { return o.Version == w.Version }) {
			t.Errorf("%+v, and the others have %+v", w, others)
		}
	}
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		if rest := lock(tx, mine); len(rest) != 1 || rest[0].Version != others[0].Version {
			t.Errorf("remaining but for the excepted: %+v", rest)
		}
		return nil
	}))
	if wrapped, err := s.one.WrappedKeyOf(t.Context(), row.ID, others[1].Version); err != nil || !slices.Equal(wrapped, wrappedBy(keyID, "again")) {
		t.Errorf("wrapped key %q, %v", wrapped, err)
	}
}

// replicasAreSeen for as long as they say that they are there.
func (s *suite) replicasAreSeen(t *testing.T) {
	r := store.Replica{ID: uuid.New(), Name: "ä", KeysetRevision: 3}
	must(t, s.one.SeeReplica(t.Context(), r))
	r.KeysetRevision = 4
	must(t, s.one.SeeReplica(t.Context(), r))
	for within, want := range map[time.Duration]int{time.Hour: 1, 0: 0} {
		found, err := s.two.Replicas(t.Context(), within)
		if err != nil || len(found) != want || want == 1 && (found[0].ID != r.ID || found[0].Name != r.Name || found[0].KeysetRevision != 4) {
			t.Errorf("seen within %s: %+v, %v", within, found, err)
		}
	}
	must(t, s.two.RemoveReplica(t.Context(), r.ID))
	if found, err := s.one.Replicas(t.Context(), time.Hour); err != nil || len(found) != 0 {
		t.Errorf("after it ended: %+v, %v", found, err)
	}
}

// policySets are replaced as a whole, byte for byte, by one at a time, also the first.
func (s *suite) policySets(t *testing.T) {
	cluster := s.path()
	set := func(revision int64, policies ...store.Policy) *store.PolicySet {
		return &store.PolicySet{PolicySetHead: store.PolicySetHead{Revision: revision, MAC: []byte("mac")}, Policies: policies}
	}
	if got, err := s.two.PolicySet(t.Context(), cluster); got != nil || err != nil {
		t.Errorf("a cluster that was never synced: %+v, %v", got, err)
	}
	replace := func(one *store.Store, began func(), next *store.PolicySet) (before *store.PolicySet, err error) {
		err = one.InTx(context.Background(), func(tx *store.Tx) error {
			began()
			if before, err = tx.LockPolicySet(context.Background(), cluster); err != nil {
				return err
			}
			tx.ReplacePolicySet(cluster, next)
			return tx.Flush(context.Background())
		})
		return before, err
	}
	first := set(1, store.Policy{Name: "B", Rules: []byte(`{"b": 1,  "a":"ä\u0000","b":2}`)}, store.Policy{Name: "a", Rules: []byte("[]")})
	release := held(t, s.one, func(tx *store.Tx) error {
		before, err := tx.LockPolicySet(context.Background(), cluster)
		if before != nil {
			t.Errorf("before the first: %+v", before)
		}
		tx.ReplacePolicySet(cluster, first)
		return err
	})
	began, got := make(chan struct{}), make(chan *store.PolicySet, 1)
	go func() {
		before, err := replace(s.two, sync.OnceFunc(func() { close(began) }), set(2))
		if err != nil {
			t.Error(err)
		}
		got <- before
	}()
	<-began
	must(t, release(nil))
	equal(t, "what the second replaced", first, <-got)
	after, err := s.one.PolicySet(t.Context(), cluster)
	must(t, err)
	equal(t, "the set at the end", set(2), after)
}
