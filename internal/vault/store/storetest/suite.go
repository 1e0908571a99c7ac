// Package storetest is what the engine needs of a store, as tests: a store that passes
// them on a database keeps the engine's promises there. They go through the exported
// methods only, and run on real servers.
package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/faultproxy"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// suite is one database, and two stores on it as two replicas have them.
type suite struct {
	one, two *store.Store
	// broken is a third, behind the proxy.
	broken *store.Store
	proxy  *faultproxy.Proxy
	names  atomic.Int64
}

// Run runs the suite on the empty database at dsn.
func Run(t *testing.T, dsn string) {
	proxy, through := testkit.Proxy(t, dsn)
	s := &suite{one: open(t, dsn), two: open(t, dsn), broken: open(t, through), proxy: proxy}
	if err := s.one.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Without its key nothing of the rest can be written.
	if !t.Run("a vault is made once", s.vaultIsMadeOnce) {
		return
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"transactions are whole", s.transactionsAreWhole},
		{"lost races run again", s.lostRacesRunAgain},
		{"deadlocks are resolved", s.deadlocksAreResolved},
		{"lost answers have unknown outcomes", s.lostAnswersHaveUnknownOutcomes},
		{"errors are translated", s.errorsAreTranslated},
		{"what is written comes back", s.whatIsWrittenComesBack},
		{"a path is locked", s.pathIsLocked},
		{"counting under locks", s.countingUnderLocks},
		{"a new path is inserted once", s.newPathIsInsertedOnce},
		{"heads are of one moment", s.headsAreOfOneMoment},
		{"versions say when they are of another moment", s.versionsOfAnotherMoment},
		{"items are in byte order", s.itemsAreInByteOrder},
		{"idempotency keys are replaced and pruned", s.idempotencyKeys},
		{"policy sets are locked and replaced", s.policySets},
		{"the keyset is compared and swapped", s.keysetIsSwapped},
		{"a key in use is not deleted", s.keyInUseIsNotDeleted},
		{"rewraps share the work", s.rewrapsShareTheWork},
		{"replicas are seen and forgotten", s.replicasAreSeen},
		{"changes are visible when committed", s.changesAreVisibleWhenCommitted},
		{"the audit log is read as of one moment", s.auditIsReadAsOfOneMoment},
		{"a snapshot is of one moment", s.snapshotIsOfOneMoment},
	} {
		t.Run(test.name, test.run)
	}
}

func open(t *testing.T, dsn string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// path is one that no other test has.
func (s *suite) path() string { return fmt.Sprintf("suite/%d", s.names.Add(1)) }

// keyID is the key-encryption key of the suite's versions.
const keyID = 7

// wrappedBy is a wrapped data key as the schema reads it: the first byte and then the
// number of the key that wrapped it.
func wrappedBy(id uint32, rest string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{1}, id), rest...)
}

var created = time.Date(2026, 1, 31, 8, 0, 0, 123456000, time.UTC)

// head is the row of a path with one version.
func head(path string) *store.Secret {
	return &store.Secret{
		ID: uuid.New(), Path: path, CurrentVersion: 1, FirstVersion: 1, LastVersion: 1, Revision: 1, MAC: []byte("mac"),
		Tags: map[string]string{}, AllowedServices: []string{}, AllowedEnvironments: []string{},
	}
}

func version(s *store.Secret, number int64) *store.Version {
	return &store.Version{
		SecretID: s.ID, Version: number, WrappedKey: wrappedBy(keyID, "data key"), CreatedAt: created, CreatedBy: "user:x", MAC: []byte("mac"),
	}
}

// write makes a path with one version.
func (s *suite) write(t *testing.T, path string) *store.Secret {
	t.Helper()
	row := head(path)
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		if inserted, err := tx.InsertSecret(t.Context(), row); err != nil || !inserted {
			return fmt.Errorf("inserted %v: %w", inserted, err)
		}
		tx.InsertVersion(version(row, 1), []byte("box"))
		return tx.Flush(t.Context())
	}))
	return row
}

// next writes one more version of a path that tx has locked.
func next(tx *store.Tx, row *store.Secret) {
	row.LastVersion++
	row.CurrentVersion = row.LastVersion
	row.Revision++
	tx.InsertVersion(version(row, row.LastVersion), []byte("box"))
	tx.UpdateSecret(row)
}

// read is the head of one path and its current version.
func read(t *testing.T, s *store.Store, path string) store.Head {
	t.Helper()
	heads, err := s.Heads(t.Context(), store.Wanted{Cluster: "cluster", Path: path})
	must(t, err)
	return heads[0]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// commitsLost matches the answer to a commit.
func commitsLost(answer []byte) bool { return bytes.Contains(answer, []byte("COMMIT\x00")) }

// held is a transaction that is held open, with what f did in it flushed, until release
// is called: it commits with nil, and fails with an error. release returns how it ended.
func held(t *testing.T, s *store.Store, f func(*store.Tx) error) (release func(error) error) {
	t.Helper()
	done, proceed, ended := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		ended <- s.InTx(context.Background(), func(tx *store.Tx) error {
			err := f(tx)
			if err == nil {
				err = tx.Flush(context.Background())
			}
			if done <- err; err != nil {
				return err
			}
			return <-proceed
		})
	}()
	must(t, <-done)
	release = func(err error) error { proceed <- err; return <-ended }
	t.Cleanup(func() {
		select {
		case proceed <- errors.New("the test failed before it was released"):
		default: // it was
		}
	})
	return release
}
