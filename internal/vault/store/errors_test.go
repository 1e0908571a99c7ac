package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
)

// TestLostAnswersHaveUnknownOutcomes: Postgres has committed and its answer is lost, for a transaction and for a batch.
func TestLostAnswersHaveUnknownOutcomes(t *testing.T) {
	proxy, dsn := testkit.Proxy(t, testkit.Postgres(t))
	s, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.pool.Exec(t.Context(), `CREATE TABLE written (by text)`); err != nil {
		t.Fatal(err)
	}
	for by, test := range map[string]struct {
		lost  string
		write func() error
	}{
		"transaction": {"COMMIT\x00", func() error {
			return s.InTx(t.Context(), func(tx *Tx) error {
				tx.batch.Queue(`INSERT INTO written VALUES ('transaction')`)
				return tx.Flush(t.Context())
			})
		}},
		"batch": {"INSERT 0 1\x00", func() error {
			var batch pgx.Batch
			batch.Queue(`INSERT INTO written VALUES ('batch')`)
			return markUnknown(s.pool.SendBatch(t.Context(), &batch).Close())
		}},
	} {
		lost := proxy.LoseAnswer(func(answer []byte) bool { return bytes.Contains(answer, []byte(test.lost)) })
		err := test.write()
		<-lost
		if !errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("%s: the answer was lost and the error is %v", by, err)
		}
		var n int
		if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM written WHERE by = $1`, by).Scan(&n); err != nil || n != 1 {
			t.Errorf("%s: %d rows were written, %v; want 1", by, n, err)
		}
	}
}

// TestFailedCommitsHaveKnownOutcomes: Postgres says that it did not commit.
func TestFailedCommitsHaveKnownOutcomes(t *testing.T) {
	s, err := Open(t.Context(), testkit.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.pool.Exec(t.Context(), `CREATE TABLE parent (id int PRIMARY KEY);
		CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`); err != nil {
		t.Fatal(err)
	}
	err = s.InTx(t.Context(), func(tx *Tx) error {
		tx.batch.Queue(`INSERT INTO child VALUES (1)`)
		return tx.Flush(t.Context())
	})
	if err == nil || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("a commit that the database refused: %v", err)
	}
}
