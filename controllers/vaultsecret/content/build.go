package content

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The kinds of failure; every error of this package wraps one of them.
var (
	// ErrInvalidSpec: the spec asks for something that cannot be.
	ErrInvalidSpec = errors.New("the spec cannot be followed")
	// ErrProperty: a value has not the property, or it cannot be decoded.
	ErrProperty = errors.New("the value does not have what is asked for")
	// ErrTemplate: a template is not allowed, or cannot be rendered.
	ErrTemplate = errors.New("the template cannot be rendered")
	// ErrTooLarge: the Secret would be larger than Kubernetes takes.
	ErrTooLarge = errors.New("the Secret would be too large")
)

// Refs returns each version of a path that spec names, once, in the order of the
// spec: the path, then the entries of data.
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
	for i := range spec.Data {
		path, err := entryPath(spec, &spec.Data[i])
		if err != nil {
			return nil, err
		}
		if err := add(path, spec.Data[i].Version); err != nil {
			return nil, err
		}
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("%w: it names no path; set path, or at least one entry in data", ErrInvalidSpec)
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

// Build returns the data of the Secret. values holds one opened version for each
// of Refs(spec). The result shares no memory with values.
func Build(spec *vaultv1alpha1.VaultSecretSpec, values map[secret.Ref]secret.Value) (map[string][]byte, error) {
	data := map[string][]byte{}
	if spec.Path != "" {
		if err := addPath(data, spec.Path, values); err != nil {
			return nil, err
		}
	}
	for i := range spec.Data {
		value, err := entryValue(spec, &spec.Data[i], values)
		if err != nil {
			return nil, err
		}
		data[spec.Data[i].Key] = value
	}
	if len(spec.Target.Template) > 0 {
		rendered, err := render(spec.Target.Template, data)
		if err != nil {
			return nil, err
		}
		data = rendered
	}
	return data, check(data)
}

func lookup(path vaultv1alpha1.VaultPath, version int64, values map[secret.Ref]secret.Value) (secret.Value, error) {
	parsed, err := secret.ParsePath(string(path))
	if err != nil {
		return secret.Value{}, fmt.Errorf("%w: %w", ErrInvalidSpec, err)
	}
	value, ok := values[secret.Ref{Path: parsed, Version: version}]
	if !ok {
		return secret.Value{}, fmt.Errorf("%w: no value was read for %s", ErrInvalidSpec, path)
	}
	return value, nil
}

func addPath(data map[string][]byte, path vaultv1alpha1.VaultPath, values map[secret.Ref]secret.Value) error {
	value, err := lookup(path, 0, values)
	if err != nil {
		return err
	}
	properties, ok := secret.Properties(value)
	if !ok {
		data[secret.RawKey] = slices.Clone(value.Bytes())
		return nil
	}
	for name, text := range properties {
		data[name] = []byte(text)
	}
	return nil
}

func entryValue(spec *vaultv1alpha1.VaultSecretSpec, entry *vaultv1alpha1.VaultSecretData, values map[secret.Ref]secret.Value) ([]byte, error) {
	path, err := entryPath(spec, entry)
	if err != nil {
		return nil, err
	}
	value, err := lookup(path, entry.Version, values)
	if err != nil {
		return nil, err
	}
	text := slices.Clone(value.Bytes())
	if entry.Property != "" {
		properties, ok := secret.Properties(value)
		if !ok {
			return nil, fmt.Errorf("%w: key %q wants the property %q of %s, whose value is not a JSON object of strings", ErrProperty, entry.Key, entry.Property, path)
		}
		property, ok := properties[entry.Property]
		if !ok {
			return nil, fmt.Errorf("%w: key %q wants the property %q, which %s has not", ErrProperty, entry.Key, entry.Property, path)
		}
		text = []byte(property)
	}
	if entry.Decode != vaultv1alpha1.DecodeBase64 {
		return text, nil
	}
	decoded, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		// The error of the decoder is left out: it tells where the value is odd.
		return nil, fmt.Errorf("%w: key %q is to be decoded, and what %s holds is not standard base64", ErrProperty, entry.Key, path)
	}
	return decoded, nil
}

// check refuses what the API server would refuse, with an error of our own that
// cannot quote the data.
func check(data map[string][]byte) error {
	size := 0
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if reasons := validation.IsConfigMapKey(key); len(reasons) > 0 {
			return fmt.Errorf("%w: %q cannot be a key of a Secret: %s; pick it by an entry of data, under another key", ErrInvalidSpec, abbreviate(key), reasons[0])
		}
		size += len(data[key])
	}
	if size > corev1.MaxSecretSize {
		return fmt.Errorf("%w: it has %d bytes, and Kubernetes takes %d; sync fewer paths or properties into it", ErrTooLarge, size, corev1.MaxSecretSize)
	}
	return nil
}

// abbreviate keeps a message short: the name of a property can be long.
func abbreviate(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
