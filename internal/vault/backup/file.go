package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

// RestoreFile is Restore with the identities of a file, as age-keygen makes it, into
// the database at a URL; with an empty URL it is Verify.
func RestoreFile(ctx context.Context, databaseURL string, identityFile io.Reader, file io.ReadSeeker) (Report, error) {
	identities, err := age.ParseIdentities(identityFile)
	if err != nil {
		// The error of age may repeat a line, which is a key.
		return Report{}, errors.New("read the identity: it holds no AGE-SECRET-KEY-1… as age-keygen writes it")
	}
	if databaseURL == "" {
		return Verify(file, identities...)
	}
	s, err := store.Open(ctx, databaseURL)
	if err != nil {
		return Report{}, err
	}
	defer s.Close()
	report, err := Restore(ctx, s, file, identities...)
	if errors.Is(err, store.ErrNotEmpty) {
		return Report{}, fmt.Errorf("%w: nothing was changed; restore into a new one (createdb)", err)
	}
	return report, err
}
