package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// ruleRetires is why a rotation may read a version that is deleted.
const ruleRetires = "the version is deleted, and the rotation retires it"

// ReadFormer opens the former version of a run, in the name of its service account, which needs the read capability. While the run retires it
// that it is deleted keeps the run from nothing: its system has to be told which credential it is to accept no more. Clear the value after use.
//
// Errors are those of Read.
func (e *Engine) ReadFormer(ctx context.Context, c *RotationClaim) (secret.Secret, error) {
	path, err := secret.ParsePath(c.Run.Definition.Path)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("%w: %w", secret.ErrInvalid, err)
	}
	judge := e.judgeVersion
	if c.Run.State == rotation.Retiring {
		judge = e.judgeRetiring
	}
	return e.read(ctx, c.Caller(), secret.Ref{Path: path, Version: c.Run.From}, judge)
}

// judgeRetiring authorises access to a version that must exist, and may be deleted.
func (e *Engine) judgeRetiring(ctx context.Context, r request, head store.Head) verdict {
	v := e.judgeVersion(ctx, r, head)
	if !errors.Is(v.err, secret.ErrVersionDeleted) {
		return v
	}
	// Nothing else is wrong with it: that was looked at before.
	v = e.judge(ctx, r, head)
	v.entry.Rule += "; " + ruleRetires
	return v
}
