package vault

import (
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// wantedOf is ref as the store is asked for it in the name of caller.
func wantedOf(caller secret.Caller, ref secret.Ref) (store.Wanted, error) {
	wanted := store.Wanted{Cluster: caller.Cluster, Path: ref.Path.String(), Version: ref.Version}
	switch {
	case ref.Path.IsZero():
		return wanted, fmt.Errorf("%w: no path was given", secret.ErrInvalid)
	case ref.Version < 0:
		return wanted, fmt.Errorf("%w: version %d; versions count from 1", secret.ErrInvalid, ref.Version)
	case ref.Version != 0 && ref.Label != "":
		return wanted, fmt.Errorf("%w: a version is named by its number or by a label, not by both", secret.ErrInvalid)
	}
	switch ref.Label {
	case "":
	case secret.Current:
		wanted.Version = store.Current
	case secret.Previous:
		wanted.Version = store.Previous
	case secret.Pending:
		wanted.Version = store.Pending
	default:
		_, err := secret.ParseLabel(string(ref.Label))
		return wanted, err
	}
	return wanted, nil
}

// labelled is the number of the version that ref names, whether it can be read or not.
func labelled(s *store.Secret, ref secret.Ref) (int64, error) {
	version := ref.Version
	switch ref.Label {
	case secret.Previous:
		version = s.PreviousVersion
	case secret.Pending:
		version = s.PendingVersion
	case secret.Current, "":
		if version == 0 {
			version = s.CurrentVersion
		}
	}
	if version == 0 {
		return 0, fmt.Errorf("%w %s", errNoLabel, ref.Label)
	}
	return version, nil
}

// labelsOf are the labels of a version of s.
func labelsOf(s *store.Secret, version int64) []secret.Label {
	var labels []secret.Label
	if version == s.CurrentVersion {
		labels = append(labels, secret.Current)
	}
	if version == s.PreviousVersion {
		labels = append(labels, secret.Previous)
	}
	if version == s.PendingVersion {
		labels = append(labels, secret.Pending)
	}
	return labels
}

// makeCurrent moves the label current of s, and previous behind it.
func makeCurrent(s *store.Secret, version int64) {
	s.PreviousVersion, s.CurrentVersion = s.CurrentVersion, version
	if s.PendingVersion == version {
		s.PendingVersion = 0
	}
}

// unlabel takes previous and pending from a version that is gone for good.
func unlabel(s *store.Secret, version int64) {
	if s.PreviousVersion == version {
		s.PreviousVersion = 0
	}
	if s.PendingVersion == version {
		s.PendingVersion = 0
	}
}
