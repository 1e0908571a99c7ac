package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/faultproxy"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func walkNothing(ctx context.Context, s *Store) error {
	return s.WalkAudit(ctx, func(*audit.Row) {}, func(*audit.Row) error { return nil }, func([]audit.StoredHead) {})
}

// TestLongReadsTakeTurns: copies and verifications together hold two connections at most, and a third waits with none.
func TestLongReadsTakeTurns(t *testing.T) {
	s := openMigrated(t, "&pool_max_conns=4")
	begun, end := make(chan struct{}), make(chan struct{})
	var reads sync.WaitGroup
	for range 2 {
		reads.Go(func() {
			err := s.ReadSnapshot(t.Context(), func(*Snapshot) error {
				begun <- struct{}{}
				<-end
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-begun
	}
	for name, read := range map[string]func(context.Context) error{
		"a verification": func(ctx context.Context) error { return walkNothing(ctx, s) },
		"a copy":         func(ctx context.Context) error { return s.ReadSnapshot(ctx, func(*Snapshot) error { return nil }) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // time to begin
		if err := read(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, secret.ErrUnavailable) {
			t.Errorf("%s beside two: %v, want that it waits until its time is over", name, err)
		}
		cancel()
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("meanwhile: %v", err)
	}
	close(end)
	reads.Wait()
	if err := walkNothing(t.Context(), s); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestTurns: whatever the pool's size, long reads leave a connection to transactions, and with three or more there is one that
// neither can hold.
func TestTurns(t *testing.T) {
	for conns := range int32(40) {
		transactions, long := turns(conns)
		if transactions < 1 || long < 1 || long > longReads {
			t.Errorf("of %d: %d transactions, %d long reads", conns, transactions, long)
		}
		if held := transactions + long; conns >= 2 && held > int64(conns) || conns >= 3 && held == int64(conns) {
			t.Errorf("of %d, %d transactions and %d long reads hold all", conns, transactions, long)
		}
	}
	if transactions, long := turns(defaultConns); transactions != 12 || long != 2 {
		t.Errorf("by default: %d transactions, %d long reads", transactions, long)
	}
}

// TestWhatIsGivenUpOnADeadConnectionEnds: the rollback gets no answer, and neither the caller nor its turn waits for it.
func TestWhatIsGivenUpOnADeadConnectionEnds(t *testing.T) {
	errOwn := errors.New("own")
	for name, fail := range map[string]func(s *Store, strand func()) error{
		"a transaction": func(s *Store, strand func()) error {
			return s.InTx(t.Context(), func(tx *Tx) error {
				if _, err := tx.LockSecret(t.Context(), "a"); err != nil {
					return err
				}
				strand()
				return errOwn
			})
		},
		"a long read": func(s *Store, strand func()) error {
			return s.ReadSnapshot(t.Context(), func(*Snapshot) error {
				strand()
				return errOwn
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, dsn, err := faultproxy.ListenFor(testkit.Postgres(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = proxy.Close() })
			s, err := Open(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- fail(s, proxy.Strand) }()
			select {
			case err := <-ended:
				if !errors.Is(err, errOwn) {
					t.Errorf("got %v", err)
				}
			case <-time.After(endTimeout + 30*time.Second):
				t.Error("it waits for ever")
				proxy.Cut()
				<-ended
			}
		})
	}
}
