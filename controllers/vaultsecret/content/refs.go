package content

import (
	"fmt"
	"slices"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Refs returns each version of a path that spec names, once, in the order of the
// spec: the path, then the paths of dataFrom, then those of data. What prefixes
// select is not among them.
func Refs(spec *vaultv1alpha1.VaultSecretSpec) ([]secret.Ref, error) {
	var refs []secret.Ref
	add := func(path vaultv1alpha1.VaultPath, version int64) error {
		parsed, err := secret.ParsePath(string(path))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidSpec, err)
		}
		if ref := (secret.Ref{Path: parsed, Version: version}); !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
		return nil
	}
	if spec.Path != "" {
		if err := add(spec.Path, 0); err != nil {
			return nil, err
		}
	}
	for i := range spec.DataFrom {
		if entry := &spec.DataFrom[i]; entry.Path != "" {
			if err := add(entry.Path, entry.Version); err != nil {
				return nil, err
			}
		}
	}
	for i := range spec.Data {
		path, err := entryPath(spec, &spec.Data[i])
		if err != nil {
			return nil, err
		}
		if err := add(path, spec.Data[i].Version); err != nil {
			return nil, err
		}
	}
	if len(refs) == 0 && len(spec.DataFrom) == 0 {
		return nil, fmt.Errorf("%w: it names no path; set path, or at least one entry in dataFrom or data", ErrInvalidSpec)
	}
	return refs, nil
}

func entryPath(spec *vaultv1alpha1.VaultSecretSpec, entry *vaultv1alpha1.VaultSecretData) (vaultv1alpha1.VaultPath, error) {
	switch {
	case entry.Path != "":
		return entry.Path, nil
	case spec.Path != "":
		return spec.Path, nil
	default:
		return "", fmt.Errorf("%w: the entry of data for key %q names no path, and spec.path is empty", ErrInvalidSpec, entry.Key)
	}
}

// Prefixes returns each prefix that spec names, once, in the order of dataFrom.
func Prefixes(spec *vaultv1alpha1.VaultSecretSpec) ([]secret.Prefix, error) {
	var prefixes []secret.Prefix
	for i := range spec.DataFrom {
		entry := &spec.DataFrom[i]
		if entry.Prefix == "" && entry.Path == "" || entry.Prefix != "" && (entry.Path != "" || entry.Version != 0) {
			return nil, fmt.Errorf("%w: dataFrom[%d] names either a path, with or without version, or a prefix", ErrInvalidSpec, i)
		}
		if entry.Prefix == "" {
			continue
		}
		prefix, err := prefixOf(entry.Prefix)
		if err != nil {
			return nil, fmt.Errorf("%w: dataFrom[%d]: %w", ErrInvalidSpec, i, err)
		}
		if !slices.Contains(prefixes, prefix) {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

// prefixOf reads a prefix, which ends in "/": without it a path and a prefix would
// look the same.
func prefixOf(s vaultv1alpha1.VaultPrefix) (secret.Prefix, error) {
	prefix, err := secret.ParsePrefix(string(s))
	if err == nil && prefix.String() != string(s) {
		err = fmt.Errorf("%w: a prefix ends in %q, as %s does", secret.ErrInvalidPath, "/", prefix)
	}
	return prefix, err
}
