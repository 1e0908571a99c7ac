package vault

import (
	"context"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/changes"
)

// purposePosition names the key under which positions are sealed.
const purposePosition = "vault/position/1"

// Position is the present place in the change feed: whoever lists everything after it
// was taken, and then follows from it, misses nothing. It tells nothing of the vault,
// so everybody may have it.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) Position(ctx context.Context) (changes.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	start, err := e.store.StartChanges(ctx, 0)
	if err != nil {
		return "", fmt.Errorf("take the present position: %w", err)
	}
	return e.sealPosition(changes.NewCursor(start))
}

// ComparePositions is negative when a is an earlier place in the change feed than b,
// positive when it is a later one, and 0 when both are the same: for consumers that
// keep a position in a place which an older process of theirs may still write.
//
// Errors: secret.ErrPositionLost.
func (e *Engine) ComparePositions(a, b changes.Position) (int, error) {
	first, err := e.openPosition(a)
	if err != nil {
		return 0, err
	}
	second, err := e.openPosition(b)
	if err != nil {
		return 0, err
	}
	return first.Compare(second), nil
}

func (e *Engine) newPositions() (changes.Positions, error) {
	sealer, err := e.keyring.Sealer(purposePosition)
	return changes.Positions{Sealer: sealer, Vault: e.vaultID}, err
}

func (e *Engine) sealPosition(c changes.Cursor) (changes.Position, error) {
	positions, err := e.positions()
	if err != nil {
		return "", err
	}
	return positions.Seal(c)
}

func (e *Engine) openPosition(p changes.Position) (changes.Cursor, error) {
	positions, err := e.positions()
	if err != nil {
		return changes.Cursor{}, err
	}
	return positions.Open(p)
}
