package vault

import (
	"context"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// rootEvery is how often a replica asks whether the root key is another one now; as
// often as kube-apiserver asks a KMS plugin.
const rootEvery = time.Minute

// rootKeeper is who wraps the keyset anew.
var rootKeeper = secret.Caller{Kind: secret.KindSystem, Name: "root-keeper", Address: "engine"}

// lookAtRoot wraps the stored keyset anew when its root key is not the current one
// any more. What wrapped it still opens it, so nothing is lost when that fails.
func (e *Engine) lookAtRoot(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if err := e.followRoot(ctx); err != nil && ctx.Err() == nil {
		e.logger.WarnContext(ctx, "the keyset was not wrapped under the current root key; the former one is still needed", "error", err)
	}
}

// followRoot is one compare-and-swap of the keyset to its next revision, audited; of
// replicas that begin together one does it.
func (e *Engine) followRoot(ctx context.Context) error {
	stored, err := e.store.WrappedKeyset(ctx)
	if err != nil {
		return err
	}
	if moved, err := e.keyring.RootMoved(ctx, stored); err != nil || !moved {
		return err
	}
	swapped := false
	r := request{caller: rootKeeper, action: audit.RootRewrap, ref: secret.Ref{Path: keyringPart}}
	err = e.swapKeys(ctx, r, keyChange{action: r.action, plan: func(ctx context.Context, b *keyBook) (keyPlan, error) {
		swapped = false // another replica may have been faster than the last plan
		moved, err := e.keyring.RootMoved(ctx, b.wrapped)
		if err != nil || !moved {
			return keyPlan{}, err
		}
		next, err := b.keyset.Next()
		swapped = err == nil
		return keyPlan{next: next, note: "the keyset is wrapped anew; it was under the root key " + keyring.DescribeRoot(b.wrapped).String()}, err
	}})
	if err != nil || !swapped {
		return err
	}
	if stored, err = e.store.WrappedKeyset(ctx); err != nil {
		return err
	}
	e.logger.InfoContext(ctx, "the keyset is wrapped under the current root key", "root", keyring.DescribeRoot(stored).String())
	return nil
}
