package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/group"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Limits of the statements that read sealed bytes together, beside operationTimeout. A
// batch of the largest, of secret.MaxValueBytes, has to fit into memory several times.
const (
	boxesBatch = 16
	boxesQueue = 4096
)

// box reads the sealed bytes of one version, in one statement with those that others ask
// for at the same time; nil when it has no row.
func (e *Engine) box(ctx context.Context, of store.BoxOf) ([]byte, error) {
	box, err := e.boxes.Ask(ctx, of)
	if err != nil && !errors.Is(err, secret.ErrUnavailable) {
		err = fmt.Errorf("%w: read the version: %w", secret.ErrUnavailable, err)
	}
	return box, err
}

// newBoxes groups the questions for the sealed bytes of versions that no cache has, as
// newLookups those for what decides about them.
func newBoxes(s *store.Store) *group.Calls[store.BoxOf, []byte] {
	return &group.Calls[store.BoxOf, []byte]{
		MaxBatch: boxesBatch, MaxQueue: boxesQueue, AtOnce: headsAtOnce, Patience: headsPatience,
		Do: func(wanted []store.BoxOf) ([][]byte, error) {
			ctx, cancel := context.WithTimeout(context.Background(), operationTimeout)
			defer cancel()
			return s.Boxes(ctx, wanted...)
		},
	}
}
