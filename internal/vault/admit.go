package vault

import (
	"context"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// admit authorises an operation on a part of the vault itself, which policies name
// by a reserved path such as sys/keyring, and makes the audit row durable before it
// returns.
//
// Errors: secret.ErrDenied, secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) admit(ctx context.Context, caller secret.Caller, action audit.Action, part secret.Path, capability policy.Capability) error {
	head, err := e.head(ctx, caller, secret.Ref{Path: part})
	if err != nil {
		return err
	}
	r := request{caller: caller, action: action, ref: secret.Ref{Path: part}, need: []policy.Capability{capability}}
	return e.record(ctx, e.judge(ctx, r, head))
}
