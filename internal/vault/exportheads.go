package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// exportTimeout bounds a question to what keeps the exported heads: no start waits for it longer.
const exportTimeout = 5 * time.Second

// HeadsExporter keeps the newest heads of the audit log outside of the database, where who can write to the
// database cannot reach them. It may be shared by several vaults and by all replicas.
type HeadsExporter interface {
	// Load returns what was saved for the vault, and nothing when that is nothing.
	Load(ctx context.Context, vault uuid.UUID) ([]audit.StoredHead, error)
	// Save adds heads as audit.MergeExported does, also when other replicas save at the same time.
	Save(ctx context.Context, vault uuid.UUID, heads []audit.StoredHead) error
	// String names the place, such as "ConfigMap coffer-system/coffer-audit-heads".
	String() string
}

// ErrDatabaseOlder says that the database lacks audit rows that it once had.
var ErrDatabaseOlder = errors.New("the database is older than the audit log that this vault has written")

// checkExported compares the database with the exported heads and returns ErrDatabaseOlder when it lacks
// what they know. When they cannot be read it is said in the log, and the vault is served:
// otherwise their place could stop it.
func (e *Engine) checkExported(ctx context.Context) error {
	if e.heads == nil {
		return nil
	}
	exported, err := e.exportedHeads(ctx)
	if err != nil {
		e.logger.WarnContext(ctx, "the exported heads of the audit log cannot be read; the age of the database is not checked", "from", e.heads.String(), "error", err)
		return nil
	}
	// Read after the exported ones: the database can only be ahead of them.
	limited, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	stored, err := e.store.AuditHeads(limited)
	if err != nil {
		return err
	}
	have := make(map[uuid.UUID]audit.Head, len(stored))
	for _, h := range stored {
		have[h.Writer] = h.Head
	}
	for _, h := range exported {
		if d := have[h.Writer]; d.Seq < h.Seq || d.Seq == h.Seq && d.MAC != h.MAC {
			e.metrics.databaseOlder.Set(1)
			return fmt.Errorf("%w: writer %s has written row %d, as %s knows, and the database has it up to row %d. Either a backup was restored or rows were "+
				"removed. After a restore that you want, delete the %s and start again; see \"Back up and restore\" in docs/operations.md",
				ErrDatabaseOlder, h.Writer, h.Seq, e.heads, d.Seq, e.heads)
		}
	}
	e.metrics.databaseOlder.Set(0)
	return nil
}

// exportedHeads are those that this vault has sealed. Others were written by somebody else.
func (e *Engine) exportedHeads(ctx context.Context) ([]audit.Head, error) {
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	loaded, err := e.heads.Load(ctx, uuid.UUID(e.vaultID))
	if err != nil {
		return nil, fmt.Errorf("%w: read the audit heads in the %s: %w", secret.ErrUnavailable, e.heads, err)
	}
	var heads []audit.Head
	for _, h := range loaded {
		if !e.chain.VerifySeal(h) {
			e.logger.ErrorContext(ctx, "an exported head of the audit log was not written by this vault; it is left out", "from", e.heads.String(), "writer", h.Writer)
			continue
		}
		heads = append(heads, h.Head)
	}
	return heads, nil
}

// exportHeads saves moved heads and logs them, after a look at whether the database is still the one they are of.
func (e *Engine) exportHeads(ctx context.Context, moved []audit.StoredHead) error {
	if len(moved) == 0 {
		return nil
	}
	heads := make([]audit.Head, len(moved))
	for i, h := range moved {
		heads[i] = h.Head
	}
	e.logger.InfoContext(ctx, "heads of the audit log", "heads", audit.FormatHeads(heads))
	if e.heads == nil {
		return nil
	}
	if err := e.checkExported(ctx); err != nil {
		e.logger.ErrorContext(ctx, "rows of the audit log are gone", "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	return e.heads.Save(ctx, uuid.UUID(e.vaultID), moved)
}
