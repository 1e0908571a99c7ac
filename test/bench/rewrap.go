package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
)

// rewrapRows is how many versions are rewrapped, and rewrapBatch how many the floor
// updates at a time: as many as a rewrap does.
const (
	rewrapRows  = 2_000
	rewrapBatch = 500
)

// rewrap is how many versions a second a rewrap does after a key rotation. The floor
// reads the same rows and writes them back, one connection and batches of the same size.
func (e *environment) rewrap() figure {
	var vaultOf *rewrapVault
	return figure{"rewrap after a key rotation", "/s", ">= 0.6", func(ctx context.Context, _ time.Duration) (ours, floor float64, err error) {
		if vaultOf == nil {
			if vaultOf, err = e.newRewrapVault(ctx); err != nil {
				return 0, 0, err
			}
		}
		return vaultOf.round(ctx, e)
	}}
}

// rewrapVault is a vault of its own with rewrapRows versions.
type rewrapVault struct {
	engine *vault.Engine
	conn   *pgx.Conn
}

func (e *environment) newRewrapVault(ctx context.Context) (*rewrapVault, error) {
	dsn, err := e.postgres.CreateDatabase(ctx, "rewrap")
	if err != nil {
		return nil, err
	}
	v := &rewrapVault{}
	if v.engine, err = e.open(ctx, dsn, "", 0); err != nil {
		return nil, err
	}
	if err := allow(ctx, v.engine); err != nil {
		return nil, err
	}
	for range rewrapRows { // a data key is bound to its version, so no row can be copied
		if err := e.put(ctx, v.engine, "bench/rewrap"); err != nil {
			return nil, err
		}
	}
	if v.conn, err = pgx.Connect(ctx, dsn); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, func() error { return v.conn.Close(context.WithoutCancel(ctx)) })
	return v, nil
}

func (v *rewrapVault) round(ctx context.Context, e *environment) (ours, floor float64, err error) {
	admin := user("storm")
	before, err := v.engine.KeyringStatus(ctx, admin)
	if err != nil {
		return 0, 0, err
	}
	added, err := v.engine.AddKey(ctx, admin)
	if err != nil {
		return 0, 0, err
	}
	if err := v.engine.PromoteKey(ctx, admin, added); err != nil {
		return 0, 0, err
	}
	var n int64
	var took time.Duration
	err = e.processorProfile("rewrap", func() (err error) {
		begin := time.Now()
		n, err = v.rewrapAll(ctx)
		took = time.Since(begin)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	ours = float64(n) / took.Seconds()
	begin := time.Now()
	if err := v.updateAll(ctx); err != nil {
		return 0, 0, err
	}
	floor = rewrapRows / time.Since(begin).Seconds()
	for _, k := range before.Keys {
		if k.State == vault.KeyPrimary {
			err = errors.Join(v.engine.RetireKey(ctx, admin, k.ID), v.engine.DestroyKey(ctx, admin, k.ID))
		}
	}
	return ours, floor, err
}

func (v *rewrapVault) rewrapAll(ctx context.Context) (rewrapped int64, err error) {
	for {
		p, err := v.engine.Rewrap(ctx, user("storm"))
		if err != nil {
			return 0, err
		}
		rewrapped += p.Rewrapped
		if p.Failed > 0 {
			return 0, fmt.Errorf("%d data keys were not rewrapped", p.Failed)
		}
		if p.Remaining == 0 {
			return rewrapped, nil
		}
	}
}

// updateAll reads and updates every version once. The wrapped key keeps its value, so
// that the rows still open; Postgres writes the row all the same, and need not touch an
// index.
func (v *rewrapVault) updateAll(ctx context.Context) error {
	var id uuid.UUID
	for after := int64(0); ; {
		rows, err := v.conn.Query(ctx, `SELECT secret_id, version, wrapped_key FROM secret_versions
			WHERE version > $1 ORDER BY secret_id, version LIMIT $2`, after, rewrapBatch)
		if err != nil {
			return err
		}
		var versions []int64
		var keys [][]byte
		var version int64
		var key []byte
		if _, err := pgx.ForEachRow(rows, []any{&id, &version, &key}, func() error {
			versions, keys = append(versions, version), append(keys, bytes.Clone(key))
			return nil
		}); err != nil {
			return err
		}
		if len(versions) == 0 {
			return nil
		}
		after = versions[len(versions)-1]
		if _, err := v.conn.Exec(ctx, `UPDATE secret_versions v SET wrapped_key = n.key
			FROM unnest($1::bigint[], $2::bytea[]) AS n (version, key)
			WHERE v.secret_id = $3 AND v.version = n.version`, versions, keys, id); err != nil {
			return err
		}
	}
}
