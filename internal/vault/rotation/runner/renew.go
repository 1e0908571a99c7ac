package runner

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Ends is vault.Ends: it reads the credential, in the name of the rotation's service account, when those of its method end by themselves.
func (r *Runner) Ends(ctx context.Context, c vault.RotatedCredential) (at time.Time, ends bool, err error) {
	if r.Renewers == nil {
		return time.Time{}, false, nil
	}
	renewer, err := r.Renewers(c.Definition.Method)
	if err != nil || renewer == nil {
		return time.Time{}, false, err
	}
	path, err := secret.ParsePath(c.Definition.Path)
	if err != nil {
		return time.Time{}, false, err
	}
	a := &acting{runner: r, claim: &vault.RotationClaim{Run: rotation.Run{ID: uuid.NewString(), Cluster: c.Cluster, Definition: c.Definition}}}
	defer a.clear()
	current, err := a.read(ctx, secret.Ref{Path: path, Version: c.Version})
	if err != nil {
		return time.Time{}, false, err
	}
	at, ends, err = renewer.RenewAt(current.credential)
	if err != nil {
		return time.Time{}, false, errors.New(a.told(err).Error())
	}
	return at, ends, nil
}
