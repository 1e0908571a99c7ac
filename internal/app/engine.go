package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/address"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
)

// EngineConfig is where the vault lives and what opens it.
type EngineConfig struct {
	// DatabaseURL is a Postgres URL and wins over DatabaseFiles.URL; RedisURL a Redis
	// URL, which wins over RedisFiles.URL. With neither the vault is without Redis.
	DatabaseURL, RedisURL     string
	DatabaseFiles, RedisFiles address.Files
	Root                      keyring.Root
	// CacheBytes bounds the sealed values kept in this process; 0 keeps none.
	CacheBytes uint64
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// AuditHeads keeps heads of the audit log outside of the database; it may be nil.
	AuditHeads vault.HeadsExporter
	// Owner is the database as the role that owns the tables; zero when the ordinary role does.
	Owner address.Source
	// AuditRetentionMonths is how many whole months of the audit log are kept; all when 0.
	AuditRetentionMonths int
	// AuditTail gets the audit rows that this process writes; it may be nil.
	AuditTail io.Writer
	// ReaderWindow is how long who read a version over the API counts as one that has it; vault.DefaultReaderWindow when 0.
	ReaderWindow time.Duration
	// Notify has events kept for who delivers them.
	Notify bool
}

// OpenEngine connects to the vault, migrates its database and opens its keyring,
// making it on first use. Replicas may do so at the same time. The returned
// function closes the connections, after the last operation.
func OpenEngine(ctx context.Context, c EngineConfig) (*vault.Engine, func(), error) {
	engine, closeEngine, err := vault.Open(ctx, vault.Options{
		DatabaseURL: c.DatabaseURL, DatabaseFiles: c.DatabaseFiles, RedisURL: c.RedisURL, RedisFiles: c.RedisFiles, Root: c.Root, CacheBytes: c.CacheBytes, Logger: c.Logger, Registerer: c.Registerer,
		AuditHeads: c.AuditHeads, OwnerURL: c.Owner.URL, OwnerFiles: c.Owner.Files, AuditRetention: c.AuditRetentionMonths,
		AuditTail: c.AuditTail, ReaderWindow: c.ReaderWindow, Notify: c.Notify,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open the vault: %w", err)
	}
	return engine, closeEngine, nil
}
