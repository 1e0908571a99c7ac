package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// transactionsAreWhole: all of a transaction is there, or nothing, and nothing of it
// before its end.
func (s *suite) transactionsAreWhole(t *testing.T) {
	mine := errors.New("mine")
	path := s.path()
	err := s.one.InTx(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.InsertSecret(t.Context(), head(path)); err != nil {
			return err
		}
		return mine
	})
	if err != mine { //nolint:errorlint // as it is, not wrapped
		t.Errorf("the function's error came back as %v", err)
	}
	if got := read(t, s.two, path); got.Secret != nil {
		t.Error("a transaction whose function failed has written")
	}
	release := held(t, s.one, func(tx *store.Tx) error {
		_, err := tx.InsertSecret(context.Background(), head(path))
		return err
	})
	if got := read(t, s.two, path); got.Secret != nil {
		t.Error("what is not committed is seen")
	}
	must(t, release(nil))
	if got := read(t, s.two, path); got.Secret == nil {
		t.Error("what is committed is not seen")
	}
	ctx, cancel := context.WithCancel(t.Context())
	path = s.path()
	err = s.one.InTx(ctx, func(tx *store.Tx) error {
		if _, err := tx.InsertSecret(ctx, head(path)); err != nil {
			return err
		}
		cancel()
		return tx.Flush(ctx)
	})
	if err == nil {
		t.Error("a transaction whose context ended has no error")
	}
	if got := read(t, s.one, path); got.Secret != nil && !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Error("a transaction whose context ended has written")
	}
}

// lostRacesRunAgain: of two transactions that write the same number the second runs
// again, and sees what the first wrote.
func (s *suite) lostRacesRunAgain(t *testing.T) {
	row := s.write(t, s.path())
	release := held(t, s.one, func(tx *store.Tx) error {
		tx.InsertVersion(version(row, 2), nil)
		return nil
	})
	began, ended := make(chan struct{}), make(chan error, 1)
	runs := 0
	go func() {
		ended <- s.two.InTx(context.Background(), func(tx *store.Tx) error {
			if runs++; runs == 1 {
				close(began)
				tx.InsertVersion(version(row, 2), nil)
			} else {
				tx.InsertVersion(version(row, 3), nil)
			}
			return tx.Flush(context.Background())
		})
	}()
	<-began
	must(t, release(nil))
	if err := <-ended; err != nil || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
	runs = 0
	err := s.one.InTx(t.Context(), func(tx *store.Tx) error {
		runs++
		tx.InsertVersion(version(row, 3), nil)
		return tx.Flush(t.Context())
	})
	if !errors.Is(err, secret.ErrUnavailable) || runs < 2 || runs > 10 {
		t.Errorf("a number that is taken for good: %d runs, %v", runs, err)
	}
}

// deadlocksAreResolved: two transactions that lock two paths in either order both end
// well.
func (s *suite) deadlocksAreResolved(t *testing.T) {
	paths := []string{s.path(), s.path()}
	for _, path := range paths {
		s.write(t, path)
	}
	var both, wait sync.WaitGroup
	both.Add(2)
	for i, one := range []*store.Store{s.one, s.two} {
		wait.Go(func() {
			var first sync.Once
			err := one.InTx(t.Context(), func(tx *store.Tx) error {
				for _, path := range []string{paths[i], paths[1-i]} {
					row, err := tx.LockSecret(t.Context(), path)
					if err != nil {
						return err
					}
					next(tx, row)
					if err := tx.Flush(t.Context()); err != nil {
						return err
					}
					first.Do(func() { both.Done(); both.Wait() }) // each has one of the locks
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, path := range paths {
		if got := read(t, s.one, path).Secret; got.LastVersion != 3 || got.Revision != 3 {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// lostAnswersHaveUnknownOutcomes: who is not told that a commit failed must not believe
// that it did.
func (s *suite) lostAnswersHaveUnknownOutcomes(t *testing.T) {
	path := s.path()
	lost := s.proxy.LoseAnswer(commitsLost)
	err := s.broken.InTx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.InsertSecret(t.Context(), head(path))
		return err
	})
	select {
	case <-lost:
	default:
		t.Fatalf("no answer was lost: %v", err)
	}
	if !errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, secret.ErrUnavailable) {
		t.Errorf("the answer to a commit was lost: %v", err)
	}
	if got := read(t, s.one, path); got.Secret == nil {
		t.Error("Postgres committed, and nothing is there")
	}
	path = s.path()
	err = s.broken.InTx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.InsertSecret(t.Context(), head(path))
		s.proxy.Cut()
		return err
	})
	if !errors.Is(err, secret.ErrUnavailable) {
		t.Errorf("the connection broke before the commit: %v", err)
	}
	if got := read(t, s.one, path); got.Secret != nil {
		t.Error("a transaction that was cut off before its commit has written")
	}
	// What failed as a whole is known to have failed.
	err = s.broken.InTx(t.Context(), func(tx *store.Tx) error {
		tx.InsertVersion(version(head(path), 1), nil) // of no path
		return tx.Flush(t.Context())
	})
	if !errors.Is(err, secret.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("a statement failed: %v", err)
	}
}

// errorsAreTranslated: whatever is asked of a database that is away, the answer is
// secret.ErrUnavailable, and comes in time.
func (s *suite) errorsAreTranslated(t *testing.T) {
	s.proxy.Refuse()
	defer s.proxy.Heal()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	away := s.broken
	for name, ask := range map[string]func() error{
		"InTx": func() error {
			return away.InTx(ctx, func(tx *store.Tx) error { // one without a statement asks nothing of the database
				_, err := tx.IdempotencyKey(ctx, []byte("none"))
				return err
			})
		},
		"Ping":         func() error { return away.Ping(ctx) },
		"Heads":        func() error { _, err := away.Heads(ctx, store.Wanted{Path: "a"}); return err },
		"Boxes":        func() error { _, err := away.Boxes(ctx, store.BoxOf{}); return err },
		"WrappedKeyOf": func() error { _, err := away.WrappedKeyOf(ctx, store.ID{}, 1); return err },
		"VersionsOf":   func() error { _, _, err := away.VersionsOf(ctx, head("a")); return err },
		"Items":        func() error { _, err := away.Items(ctx, store.Filter{Limit: 1}); return err },
		"PolicySet":    func() error { _, err := away.PolicySet(ctx, "c"); return err },
		"Keyset":       func() error { _, err := away.Keyset(ctx); return err },
		"WrappedKeyset": func() error {
			_, err := away.WrappedKeyset(ctx)
			return err
		},
		"KeyUses": func() error { _, err := away.KeyUses(ctx); return err },
		"Audit":   func() error { _, err := away.Audit(ctx, audit.Query{Limit: 1}); return err },
		"WalkAudit": func() error {
			return away.WalkAudit(ctx, func(*audit.Row) {}, func(*audit.Row) error { return nil }, func([]audit.StoredHead) {})
		},
		"AppendAudit": func() error {
			_, err := appendAudit(ctx, away, audit.Head{}, []int64{1})
			return err
		},
		"ReserveAuditIDs":      func() error { _, err := away.ReserveAuditIDs(ctx, 1); return err },
		"AuditHeads":           func() error { _, err := away.AuditHeads(ctx); return err },
		"PruneIdempotencyKeys": func() error { return away.PruneIdempotencyKeys(ctx, created) },
		"StartChanges":         func() error { _, err := away.StartChanges(ctx, time.Second); return err },
		"ReadChanges":          func() error { _, err := away.ReadChanges(ctx, changes.Cursor{}); return err },
		"Consumers":            func() error { _, err := away.Consumers(ctx, "a"); return err },
		"Readers":              func() error { _, err := away.Readers(ctx, "a", created); return err },
		"PruneReaders":         func() error { return away.PruneReaders(ctx, created) },
		"Replicas":             func() error { _, err := away.Replicas(ctx, time.Second); return err },
		"SeeReplica":           func() error { return away.SeeReplica(ctx, store.Replica{}) },
		"ReadSnapshot":         func() error { return away.ReadSnapshot(ctx, func(*store.Snapshot) error { return nil }) },
	} {
		if err := ask(); !errors.Is(err, secret.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.proxy.Heal()
	if err := away.Ping(t.Context()); err != nil {
		t.Errorf("the database is back: %v", err)
	}
}
