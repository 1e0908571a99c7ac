package content

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/safetemplate"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The kinds of failure; every error of this package wraps one of them.
var (
	// ErrInvalidSpec: the spec asks for something that cannot be.
	ErrInvalidSpec = errors.New("the spec cannot be followed")
	// ErrProperty: a value has not the property, or it cannot be decoded.
	ErrProperty = errors.New("the value does not have what is asked for")
	// ErrConflict: two sources give one key, and nothing says which counts.
	ErrConflict = errors.New("two sources give the same key")
	// ErrTemplate: a template is not allowed, or cannot be rendered.
	ErrTemplate = safetemplate.ErrTemplate
	// ErrType: the data do not fit the type of the Secret.
	ErrType = errors.New("the content does not fit the type of the Secret")
	// ErrTooLarge: the Secret would be larger than Kubernetes takes.
	ErrTooLarge = errors.New("the Secret would be too large")
)

// maxKeys bounds the keys of a Secret, all of which the status lists: with the
// longest names they make half a MiB.
const maxKeys = 2048

// Build returns the data of the Secret. values holds one opened version for each
// of Refs(spec), and the current one of each path below Prefixes(spec). The result
// shares no memory with values, and depends on nothing else.
func Build(spec *vaultv1alpha1.VaultSecretSpec, values map[secret.Ref]secret.Value) (map[string][]byte, error) {
	m := merger{data: map[string][]byte{}, from: map[string]string{}, picked: map[string]bool{}}
	for i := range spec.Data {
		m.picked[spec.Data[i].Key] = true
	}
	if spec.Path != "" {
		named, err := ofPath(spec.Path, 0, values)
		if err != nil {
			return nil, err
		}
		if err := m.add(named, vaultv1alpha1.ConflictFail); err != nil {
			return nil, err
		}
	}
	if err := m.addEntries(spec.DataFrom, values); err != nil {
		return nil, err
	}
	data := m.data
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
		data, m.from = rendered, nil
	}
	if err := check(data, m.from); err != nil {
		return nil, err
	}
	return data, checkType(corev1.SecretType(spec.Target.Type), data)
}

// render says of a key that is missing where it could come from.
func render(templates map[string]string, data map[string][]byte) (map[string][]byte, error) {
	rendered, err := safetemplate.Render(templates, data)
	if errors.Is(err, safetemplate.ErrNoSuchKey) {
		err = fmt.Errorf("%w; give it by path, dataFrom or data", err)
	}
	return rendered, err
}

// named is a part of a value, with the name that it has before it becomes a key.
type named struct {
	name string
	path string // where it is from
	data []byte
}

// merger puts the sources of a Secret together, in order.
type merger struct {
	data map[string][]byte
	from map[string]string // the path that a key came from
	// picked are the keys that entries of spec.data set: there is no conflict over
	// them, and what sources give for them does not count.
	picked map[string]bool
}

// add makes keys of parts, in their order.
func (m *merger) add(parts []named, onConflict vaultv1alpha1.ConflictPolicy) error {
	for _, part := range parts {
		if m.picked[part.name] {
			continue
		}
		earlier, taken := m.from[part.name]
		switch {
		case !taken, onConflict == vaultv1alpha1.ConflictReplace:
			m.data[part.name], m.from[part.name] = part.data, part.path
		case onConflict == vaultv1alpha1.ConflictKeep:
		default:
			return fmt.Errorf("%w: key %q comes from %s and from %s; rename one of them, say onConflict: Replace or Keep in the later entry of dataFrom, or set the key in data",
				ErrConflict, part.name, earlier, part.path)
		}
		if len(m.data) > maxKeys {
			return tooManyKeys(len(m.data))
		}
	}
	return nil
}

func tooManyKeys(n int) error {
	return fmt.Errorf("%w: it has %d keys or more, and Coffer takes %d; sync fewer paths or properties into it", ErrTooLarge, n, maxKeys)
}

// ofPath are the parts of a value: its properties by name, or the whole.
func ofPath(path vaultv1alpha1.VaultPath, version int64, values map[secret.Ref]secret.Value) ([]named, error) {
	parsed, err := secret.ParsePath(string(path))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidSpec, err)
	}
	value, err := lookup(secret.Ref{Path: parsed, Version: version}, values)
	if err != nil {
		return nil, err
	}
	return partsOf(parsed, value, secret.RawKey, ""), nil
}

// partsOf are the parts of a value in the order of their names: its properties with
// before in front of the name, or, called whole, all of it.
func partsOf(path secret.Path, value secret.Value, whole, before string) []named {
	properties, ok := secret.Properties(value)
	if !ok {
		return []named{{whole, path.String(), slices.Clone(value.Bytes())}}
	}
	parts := make([]named, 0, len(properties))
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		parts = append(parts, named{before + name, path.String(), []byte(properties[name])})
	}
	return parts
}

func lookup(ref secret.Ref, values map[secret.Ref]secret.Value) (secret.Value, error) {
	value, ok := values[ref]
	if !ok {
		return secret.Value{}, fmt.Errorf("%w: no value was read for %s", ErrInvalidSpec, ref.Path)
	}
	return value, nil
}

func entryValue(spec *vaultv1alpha1.VaultSecretSpec, entry *vaultv1alpha1.VaultSecretData, values map[secret.Ref]secret.Value) ([]byte, error) {
	path, err := entryPath(spec, entry)
	if err != nil {
		return nil, err
	}
	parsed, err := secret.ParsePath(string(path))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidSpec, err)
	}
	value, err := lookup(secret.Ref{Path: parsed, Version: entry.Version}, values)
	if err != nil {
		return nil, err
	}
	text := slices.Clone(value.Bytes())
	if entry.Property != "" {
		properties, ok := secret.Properties(value)
		if !ok {
			return nil, fmt.Errorf("%w: key %q wants the property %q of %s, whose value is not a JSON object of strings", ErrProperty, entry.Key, abbreviate(entry.Property), path)
		}
		property, ok := properties[entry.Property]
		if !ok {
			return nil, fmt.Errorf("%w: key %q wants the property %q, which %s has not", ErrProperty, entry.Key, abbreviate(entry.Property), path)
		}
		text = []byte(property)
	}
	decoded, err := decode(entry.Decode, text)
	if err != nil {
		return nil, fmt.Errorf("%w: key %q is to be decoded, and what %s holds is not %w", ErrProperty, entry.Key, path, err)
	}
	return decoded, nil
}

// check refuses what the API server would refuse, with an error of our own that
// cannot quote the data. from has the path that a key came from, where it came from
// one.
func check(data map[string][]byte, from map[string]string) error {
	size := 0
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if len(validation.IsConfigMapKey(key)) > 0 {
			return notAKey(key, from[key])
		}
		size += len(data[key])
	}
	if len(data) > maxKeys {
		return tooManyKeys(len(data))
	}
	if size > corev1.MaxSecretSize {
		return fmt.Errorf("%w: it has %d bytes, and Kubernetes takes %d; sync fewer paths or properties into it", ErrTooLarge, size, corev1.MaxSecretSize)
	}
	return nil
}

func notAKey(key, path string) error {
	next := "name another in target.template"
	if path != "" {
		next = fmt.Sprintf("it comes from %s: rename it in an entry of dataFrom, or pick it by an entry of data", path)
	}
	return fmt.Errorf("%w: %q cannot be a key of a Secret, which has 1 to 253 characters of A-Z, a-z, 0-9, '-', '_' and '.'; %s",
		ErrInvalidSpec, abbreviate(key), next)
}

// abbreviate keeps a message short: the name of a property can be long.
func abbreviate(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
