package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
)

func openMigrated(t *testing.T, parameters string) *Store {
	t.Helper()
	s, err := Open(t.Context(), testkit.Postgres(t)+parameters)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestATransactionIsAllOrNothing although its last writes go with the commit: of what
// fails or is given up nothing stays, no lock and no open transaction either.
func TestATransactionIsAllOrNothing(t *testing.T) {
	s := openMigrated(t, "&pool_max_conns=1")
	count := func() (n int) {
		t.Helper()
		if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM changes`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	errOwn := errors.New("own")
	write := func(tx *Tx) { tx.InsertChange(changes.Change{Kind: changes.Policy}) }
	for name, f := range map[string]func(context.Context, *Tx) error{
		"the last writes fail": func(_ context.Context, tx *Tx) error {
			write(tx)
			tx.batch.Queue(`SELECT 1/0`)
			write(tx)
			return nil
		},
		"f fails": func(ctx context.Context, tx *Tx) error {
			write(tx)
			return errors.Join(tx.Flush(ctx), errOwn)
		},
		"a failed statement is passed over": func(ctx context.Context, tx *Tx) error {
			write(tx)
			if err := tx.Flush(ctx); err != nil {
				return err
			}
			_, _ = tx.tx.Exec(ctx, `SELECT 1/0`)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.InTx(t.Context(), func(tx *Tx) error { return f(t.Context(), tx) })
			if err == nil || errors.Is(err, ErrOutcomeUnknown) {
				t.Errorf("got %v, want an error that leaves no doubt", err)
			}
			if n := count(); n != 0 {
				t.Errorf("%d rows stayed", n)
			}
		})
	}
	err := s.InTx(t.Context(), func(tx *Tx) error {
		if _, err := tx.LockSecret(t.Context(), "a"); err != nil { // BEGIN goes with it
			return err
		}
		write(tx)
		return nil
	})
	if n := count(); err != nil || n != 1 {
		t.Errorf("%d rows were written, error %v", n, err)
	}
}

// TestReadsFindAConnection: transactions that wait for a lock never have all connections.
func TestReadsFindAConnection(t *testing.T) {
	s := openMigrated(t, "&pool_max_conns=6") // of which two are for transactions
	began, release, done := make(chan struct{}, 8), make(chan struct{}), make(chan error, 8)
	for range 8 {
		go func() {
			done <- s.InTx(t.Context(), func(tx *Tx) error {
				_, err := tx.LockSecret(t.Context(), "a")
				began <- struct{}{}
				<-release
				return err
			})
		}()
	}
	<-began
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := s.Heads(ctx, Wanted{Path: "a"}); err != nil {
		t.Error(err)
	}
	if n := s.pool.Stat().AcquiredConns(); n != 2 {
		t.Errorf("transactions have %d connections, want 2", n)
	}
	close(release)
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestIDsOfATransactionGrow: those drawn with the lock and those drawn later.
func TestIDsOfATransactionGrow(t *testing.T) {
	s := openMigrated(t, "")
	if err := s.InTx(t.Context(), func(tx *Tx) error {
		if _, err := tx.LockSecret(t.Context(), "a"); err != nil {
			return err
		}
		last := int64(0)
		for _, n := range []int{3, 1, 2} {
			ids, err := tx.ReserveAuditIDs(t.Context(), n)
			if err != nil || len(ids) != n {
				t.Fatalf("%d ids, error %v; want %d", len(ids), err, n)
			}
			for _, id := range ids {
				if id <= last {
					t.Errorf("id %d after %d", id, last)
				}
				last = id
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
