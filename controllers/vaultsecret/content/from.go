package content

import (
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Bounds of renaming, which keep its work small whatever a tenant writes: a step
// costs at most the bytes of the name times the instructions of the expression.
const (
	// maxRenameBytes bounds a regular expression and a replacement.
	maxRenameBytes = 256
	// maxInstructions bounds a compiled regular expression. Repetitions multiply: a
	// hundred bytes could make many thousands of them.
	maxInstructions = 512
	// maxNameBytes bounds a name before and after each step; the longest path behind a
	// "/" with the longest key fits.
	maxNameBytes = 1024
	// maxRenamed bounds the bytes of the names that all steps of a VaultSecret look at.
	maxRenamed = 1 << 20
)

// addEntries adds the entries of dataFrom in order.
func (m *merger) addEntries(entries []vaultv1alpha1.VaultSecretDataFrom, values map[secret.Ref]secret.Value) error {
	renamed := 0
	for i := range entries {
		entry := &entries[i]
		rename, err := newRenamer(entry.Rename, &renamed)
		if err != nil {
			return fmt.Errorf("%w: dataFrom[%d].%w", ErrInvalidSpec, i, err)
		}
		var parts []named
		if entry.Prefix != "" {
			parts, err = ofPrefix(entry.Prefix, values)
		} else {
			parts, err = ofPath(entry.Path, entry.Version, values)
		}
		if err != nil {
			return err
		}
		for n := range parts {
			part := &parts[n]
			if part.name, err = rename.apply(part.name); err != nil {
				return fmt.Errorf("%w: dataFrom[%d]: a name from %s %w", ErrInvalidSpec, i, part.path, err)
			}
			if entry.Prefix != "" {
				part.name = strings.ReplaceAll(part.name, "/", "_")
			}
		}
		if err := m.add(parts, entry.OnConflict); err != nil {
			return err
		}
	}
	return nil
}

// ofPrefix are the parts of the values below a prefix, in the order of their paths.
// A name is what of the path lies behind the prefix, and "/" and the property for a
// value of properties.
func ofPrefix(s vaultv1alpha1.VaultPrefix, values map[secret.Ref]secret.Value) ([]named, error) {
	prefix, err := prefixOf(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidSpec, err)
	}
	var parts []named
	below := func(a, b secret.Ref) int { return strings.Compare(a.Path.String(), b.Path.String()) }
	for _, ref := range slices.SortedFunc(maps.Keys(values), below) {
		if ref.Version != 0 || !prefix.Contains(ref.Path) {
			continue
		}
		name := strings.TrimPrefix(ref.Path.String(), prefix.String())
		parts = append(parts, partsOf(ref.Path, values[ref], name, name+"/")...)
		if len(parts) > 2*maxKeys { // renaming may still make one of two, and no more is looked at
			return nil, tooManyKeys(len(parts))
		}
	}
	return parts, nil
}

// renamer applies the steps of one entry of dataFrom.
type renamer struct {
	steps []step
	// spent counts the bytes of names over all entries.
	spent *int
}

type step struct {
	from *regexp.Regexp
	to   string
}

func newRenamer(renames []vaultv1alpha1.VaultSecretRename, spent *int) (*renamer, error) {
	r := &renamer{spent: spent}
	for i, rename := range renames {
		from, err := compile(rename)
		if err != nil {
			return nil, fmt.Errorf("rename[%d] %w", i, err)
		}
		r.steps = append(r.steps, step{from, rename.To})
	}
	return r, nil
}

func compile(rename vaultv1alpha1.VaultSecretRename) (*regexp.Regexp, error) {
	if len(rename.From) > maxRenameBytes || len(rename.To) > maxRenameBytes {
		return nil, fmt.Errorf("is too long: from and to may have %d bytes each", maxRenameBytes)
	}
	if rename.From == "" {
		return nil, fmt.Errorf("has no from: write a regular expression, such as ^api/(.*)$")
	}
	parsed, err := syntax.Parse(rename.From, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("has no regular expression in from: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("has no regular expression in from: %w", err)
	}
	if n := len(program.Inst); n > maxInstructions {
		return nil, fmt.Errorf("is too complex: from makes %d instructions, and at most %d are allowed; repeat less in it", n, maxInstructions)
	}
	return regexp.Compile(rename.From)
}

// apply returns what becomes of a name.
func (r *renamer) apply(name string) (string, error) {
	if len(name) > maxNameBytes {
		return "", errLongName
	}
	for _, step := range r.steps {
		if *r.spent += len(name); *r.spent > maxRenamed {
			return "", fmt.Errorf("is one too many to rename: the names have more than %d bytes over all steps; rename less, or sync fewer paths", maxRenamed)
		}
		if name = step.from.ReplaceAllString(name, step.to); len(name) > maxNameBytes {
			return "", errLongName
		}
	}
	return name, nil
}

var errLongName = fmt.Errorf("has more than %d bytes; rename it, or pick it by an entry of data", maxNameBytes)
