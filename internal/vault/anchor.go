package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// anchorEvery is how often the heads of the writers are anchored while they move.
// Rows younger than that can be cut off a writer by somebody who puts its older stored head back.
const anchorEvery = 10 * time.Second

// anchorer is who writes anchors: every process by itself, by no token.
var anchorer = secret.Caller{Kind: secret.KindSystem, Name: "audit", Address: "manager"}

// startAnchors begins to anchor; the returned function ends that and waits for it.
func (e *Engine) startAnchors(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.keepAnchors(ctx)
	}()
	return func() { cancel(); <-ended }
}

// keepAnchors anchors until ctx ends: at the start, for writers of processes that
// ended, and then when this process has written.
func (e *Engine) keepAnchors(ctx context.Context) {
	ticker := time.NewTicker(anchorEvery)
	defer ticker.Stop()
	var moved []audit.StoredHead // and not exported yet
	for {
		if e.unanchored.Swap(false) {
			heads, err := e.anchor(ctx)
			moved = audit.MergeExported(moved, heads)
			if err != nil && ctx.Err() == nil {
				e.unanchored.Store(true)
				e.logger.WarnContext(ctx, "the heads of the audit log were not anchored; trying again", "error", err)
			}
		}
		if err := e.exportHeads(ctx, moved); err == nil {
			moved = nil
		} else if ctx.Err() == nil {
			e.logger.WarnContext(ctx, "the heads of the audit log were not exported; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// anchor writes a row that holds the heads of all writers that went on since they
// were last anchored, those of other processes too. Who cuts rows off one writer is
// then given away by another. It returns the heads that moved, the anchor's own too. A process
// that ends waits for it, as for every commit under way.
func (e *Engine) anchor(ctx context.Context) (moved []audit.StoredHead, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()
	var rows auditRows
	err = rows.settle(e, func() error {
		return e.store.InTx(ctx, func(tx *store.Tx) error {
			rows.take(e)
			var err error
			moved, err = e.appendAnchor(ctx, tx, &rows)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return moved, nil
}

// appendAnchor writes the anchor, when there is something to hold, as rows in tx.
func (e *Engine) appendAnchor(ctx context.Context, tx *store.Tx, rows *auditRows) (moved []audit.StoredHead, err error) {
	stored, err := tx.UnanchoredHeads(ctx)
	if err != nil {
		return nil, err
	}
	var heads []audit.Head
	for _, h := range stored {
		// A head that somebody edited must not be vouched for.
		if e.chain.VerifySeal(h) {
			heads, moved = append(heads, h.Head), append(moved, h)
		}
	}
	if len(heads) == 0 {
		return nil, nil
	}
	entry := newEntry(anchorer, audit.Anchor, "", 0, audit.Allowed, fmt.Sprintf("heads of %d writers", len(heads)))
	entry.At = e.now()
	tx.SetAnchored(heads)
	if err := rows.append(ctx, e, tx, audit.FormatHeads(heads), []audit.Entry{entry}); err != nil {
		return nil, err
	}
	moved = append(moved, audit.StoredHead{Head: rows.head(), Seal: e.chain.Seal(rows.head())})
	return moved, tx.Flush(ctx)
}
