package vault

import (
	"context"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/backup"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

var backupPart = secret.System("backup")

// Backup authorises a backup, which needs read on sys/backup, and returns what writes
// it, encrypted to the age recipients. Writing lasts as long as w takes; a file whose
// writing failed does not open.
//
// Errors: secret.ErrInvalid for recipients that are none, secret.ErrDenied,
// secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) Backup(ctx context.Context, caller secret.Caller, recipients []string) (write func(context.Context, io.Writer) error, err error) {
	to, err := age.ParseRecipients(strings.NewReader(strings.Join(recipients, "\n")))
	if err != nil {
		return nil, fmt.Errorf("%w: a recipient is not like age1…, as age-keygen prints it", secret.ErrInvalid)
	}
	admitCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if err := e.admit(admitCtx, caller, audit.Backup, backupPart, policy.Read); err != nil {
		return nil, err
	}
	return func(ctx context.Context, w io.Writer) error {
		return backup.Write(ctx, e.store, e.now(), to, w)
	}, nil
}
