//go:build failpoints

package faults

import (
	"context"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// makeRoom lets months of long ago have partitions: the first is of all time before the vault was made.
const makeRoom = `DO $$ BEGIN
	IF (SELECT pg_get_expr(relpartbound, oid) LIKE '%MINVALUE%' FROM pg_class WHERE relname = 'audit_first') THEN
		ALTER TABLE audit DETACH PARTITION audit_first;
		EXECUTE format('ALTER TABLE audit ATTACH PARTITION audit_first FOR VALUES FROM (%L) TO (%L)',
			date_trunc('month', now(), 'UTC') - interval '1 month', date_trunc('month', now(), 'UTC') + interval '1 month');
	END IF;
END $$`

// retain lets a process with a clock of long ago write audit rows, and another drop the months of them.
func (w *worker) retain(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, os.Getenv(workerDSN))
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, makeRoom); err != nil {
		return err
	}
	if err := conn.Close(ctx); err != nil {
		return err
	}
	root, err := keyring.KeyFileRoot(os.Getenv(workerRoot))
	if err != nil {
		return err
	}
	options := vault.Options{DatabaseURL: os.Getenv(workerDSN), Root: root}
	past := options
	longAgo := time.Date(2001, time.January, 15, 0, 0, 0, 0, time.UTC).AddDate(0, 3*w.n, 0)
	past.Clock = func() time.Time { return longAgo }
	engine, closeEngine, err := vault.Open(ctx, past)
	if err != nil {
		return err
	}
	_, err = engine.List(ctx, admin("long-ago"), secret.Prefix{}, secret.Path{}, 1)
	closeEngine()
	if err != nil {
		return err
	}
	options.AuditRetention = 1
	_, closeEngine, err = vault.Open(ctx, options)
	if err == nil {
		closeEngine()
	}
	return err
}
