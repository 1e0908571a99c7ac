package vault

import (
	"context"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

// prune destroys the oldest versions beyond the path's maximum, before the version
// that is being written is there. It costs a round trip where a maximum is set.
func (w *writing) prune(ctx context.Context, tx *store.Tx) error {
	if w.row.MaxVersions == 0 {
		return nil
	}
	versions, err := tx.Versions(ctx, w.row.ID, w.row.FirstVersion, w.row.LastVersion)
	if err != nil {
		return err
	}
	for _, v := range surplus(w.row, versions) {
		if !w.engine.verifyVersion(&v) {
			return errVersionMAC
		}
		v.DestroyedAt = &w.now
		w.engine.amendVersion(tx, w.row, &v)
		w.destroyed = append(w.destroyed, v.Version)
	}
	return nil
}

// surplus are the versions to destroy, so that with the one being written no more are
// kept than s allows, oldest first. Versions with a label stay.
func surplus(s *store.Secret, versions []store.Version) []store.Version {
	var unlabelled []store.Version
	kept := 1 // the one being written
	for _, v := range versions {
		if v.Deletion || v.DestroyedAt != nil {
			continue
		}
		kept++
		if len(labelsOf(s, v.Version)) == 0 {
			unlabelled = append(unlabelled, v)
		}
	}
	return unlabelled[:max(0, min(kept-s.MaxVersions, len(unlabelled)))]
}
