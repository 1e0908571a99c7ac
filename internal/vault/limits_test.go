package vault_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit/faultproxy"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// silenced is an engine whose database can be made to answer no more.
func silenced(t *testing.T, config vault.Config) (*vaulttest.Env, *vault.Engine, *faultproxy.Proxy) {
	t.Helper()
	env, _ := quiet(t)
	proxy, dsn, err := faultproxy.ListenFor(env.DSN)
	must(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	direct := env.DSN
	env.DSN = dsn
	engine, _ := newEngine(t, env, config)
	env.DSN = direct
	return env, engine, proxy
}

// wantEnd fails the test when do does not end, which takes some seconds at most.
func wantEnd(t *testing.T, proxy *faultproxy.Proxy, do func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do()
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("it waits for ever for a database that does not answer")
	}
	proxy.Refuse() // the end of the test does not wait for it either
	<-ended
}

// TestOneRemovalThatHangsCostsTheOtherNothing: keys are removed though somebody holds the table of changes all the time.
func TestOneRemovalThatHangsCostsTheOtherNothing(t *testing.T) {
	env, _ := quiet(t)
	engine, _ := newEngine(t, env, vault.Config{})
	request := secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "w"), IdempotencyKey: "k"}
	_, err := engine.Put(t.Context(), env.Admin, request)
	must(t, err)
	exec(t, env, `UPDATE idempotency_keys SET created_at = created_at - interval '2 days'`)
	must(t, pgx.BeginFunc(t.Context(), connect(t, env), func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `LOCK TABLE changes IN ACCESS EXCLUSIVE MODE`); err != nil {
			return err
		}
		eventually(t, "the key to be removed", func() bool {
			vault.Prune(t.Context(), engine, time.Second)
			return texts(t, env, `SELECT count(*)::text FROM idempotency_keys`)[0] == "0"
		})
		return nil
	}))
}

// TestRemovalsEnd when the database does not answer.
func TestRemovalsEnd(t *testing.T) {
	_, engine, proxy := silenced(t, vault.Config{})
	proxy.Silence()
	wantEnd(t, proxy, func() { vault.Prune(t.Context(), engine, time.Second) })
}

// silencing is a place of exported heads after whose answer the database is silent.
type silencing struct{ silence func() }

func (s *silencing) Load(context.Context, uuid.UUID) ([]audit.StoredHead, error) {
	s.silence()
	return nil, nil
}
func (*silencing) Save(context.Context, uuid.UUID, []audit.StoredHead) error { return nil }
func (*silencing) String() string                                            { return "a test" }

// TestTheLookAtExportedHeadsEnds when the database does not answer: neither a start nor the anchors wait for ever.
func TestTheLookAtExportedHeadsEnds(t *testing.T) {
	t.Parallel() // it waits for the limit of an operation
	var heads silencing
	_, engine, proxy := silenced(t, vault.Config{AuditHeads: &heads})
	heads.silence = proxy.Silence
	wantEnd(t, proxy, func() { wantError(t, vault.CheckExported(t.Context(), engine), secret.ErrUnavailable) })
}
