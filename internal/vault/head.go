package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/group"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Limits of the statements that read heads together, beside operationTimeout. The server
// works on a few requests of a caller at a time, so none fills a statement with its own.
const (
	headsBatch    = 256
	headsQueue    = 4096
	headsAtOnce   = 4
	headsPatience = 50 * time.Millisecond // many times what the statement takes
)

// head reads what decides about one reference, in one statement with the heads that
// others ask for at the same time. The statement begins after the call, so what was
// committed before counts.
func (e *Engine) head(ctx context.Context, caller secret.Caller, ref secret.Ref) (store.Head, error) {
	wanted, err := wantedOf(caller, ref)
	if err != nil {
		return store.Head{}, err
	}
	head, err := e.lookUp(ctx, wanted)
	if err != nil {
		return store.Head{}, fmt.Errorf("%s: %w", ref.Path, err)
	}
	return head, nil
}

func (e *Engine) lookUp(ctx context.Context, wanted store.Wanted) (store.Head, error) {
	head, err := e.lookups.Ask(ctx, wanted)
	if err != nil && !errors.Is(err, secret.ErrUnavailable) {
		err = fmt.Errorf("%w: read the path: %w", secret.ErrUnavailable, err)
	}
	return head, err
}

// headsOf reads what decides about references, all as of one moment: one in a statement
// with those of others, and many in a statement of their own.
func (e *Engine) headsOf(ctx context.Context, wanted []store.Wanted) ([]store.Head, error) {
	if len(wanted) != 1 {
		return e.store.Heads(ctx, wanted...)
	}
	head, err := e.lookUp(ctx, wanted[0])
	return []store.Head{head}, err
}

// newLookups groups the questions of head.
func newLookups(s *store.Store) *group.Calls[store.Wanted, store.Head] {
	return &group.Calls[store.Wanted, store.Head]{
		MaxBatch: headsBatch, MaxQueue: headsQueue, AtOnce: headsAtOnce, Patience: headsPatience,
		Do: func(wanted []store.Wanted) ([]store.Head, error) {
			ctx, cancel := context.WithTimeout(context.Background(), operationTimeout)
			defer cancel()
			return s.Heads(ctx, wanted...)
		},
	}
}
