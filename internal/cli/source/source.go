// Package source reads what is to be imported into the vault: .env files, JSON, YAML, and
// Kubernetes Secrets and ConfigMaps. Its errors name files, lines and keys, never a value:
// what a parser says of its input is not passed on.
package source

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Kind is what a source is.
type Kind string

// The kinds.
const (
	KindFile      Kind = "File"
	KindSecret    Kind = "Secret"
	KindConfigMap Kind = "ConfigMap"
)

// MaxKeys is how many keys one source has at most: as many as a synced Secret.
const MaxKeys = 2048

// Source is a file, a Secret or a ConfigMap, with its values.
type Source struct {
	Kind Kind
	// Name of the object, or the file as it was named. Namespace is that of the object;
	// empty when a manifest has none, and for files.
	Namespace, Name string
	// Type of a Secret; Opaque when it has none.
	Type corev1.SecretType
	// Immutable says that nobody can change the data of the Secret.
	Immutable bool
	// Controller is the kind and name of what owns the Secret, such as "Certificate web"; empty
	// when nothing does.
	Controller string
	// Entries are sorted by key.
	Entries []Entry
	// Left are the keys that Select left out, sorted.
	Left []string
}

// Entry is a key and its value.
type Entry struct {
	Key   string
	Value []byte
}

// Format prints the key whatever the verb is, so that none prints the value.
func (e Entry) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.Key) }

// String names the source: "Secret payments/database", or the file.
func (s Source) String() string {
	switch {
	case s.Kind == KindFile:
		return s.Name
	case s.Namespace == "":
		return string(s.Kind) + " " + s.Name
	default:
		return string(s.Kind) + " " + s.Namespace + "/" + s.Name
	}
}

// Format prints String whatever the verb is, so that none prints a value.
func (s Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// Keys are the names of the entries.
func (s Source) Keys() []string {
	keys := make([]string, len(s.Entries))
	for i, e := range s.Entries {
		keys[i] = e.Key
	}
	return keys
}

// newSource sorts entries and refuses what no source may have.
func newSource(s Source, entries []Entry) (Source, error) {
	if len(entries) > MaxKeys {
		return Source{}, fmt.Errorf("%s has more than %d keys; choose some with --keys", s, MaxKeys)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	for i, e := range entries {
		if e.Key == "" {
			return Source{}, fmt.Errorf("%s has a value without a name; give it one, or take it out", s)
		}
		if i > 0 && entries[i-1].Key == e.Key {
			return Source{}, fmt.Errorf("%s has the key %s twice; leave one", s, e.Key)
		}
	}
	s.Entries = entries
	return s, nil
}

// Select leaves the keys that one of the patterns matches, as path.Match does; without
// patterns all. Sources without such a key go. A pattern that matches nothing is an error,
// which names the keys that there are.
func Select(sources []Source, patterns []string) ([]Source, error) {
	if len(patterns) == 0 {
		return sources, nil
	}
	used := map[string]bool{}
	var selected []Source
	for _, s := range sources {
		chosen := s
		chosen.Entries, chosen.Left = nil, nil
		for _, e := range s.Entries {
			matched, err := matches(e.Key, patterns, used)
			if err != nil {
				return nil, err
			}
			if matched {
				chosen.Entries = append(chosen.Entries, e)
			} else {
				chosen.Left = append(chosen.Left, e.Key)
			}
		}
		if len(chosen.Entries) > 0 {
			selected = append(selected, chosen)
		}
	}
	for _, p := range patterns {
		if !used[p] {
			return nil, fmt.Errorf("no key is %s; there are %s", p, allKeys(sources))
		}
	}
	return selected, nil
}

// matches marks every pattern that matches as used.
func matches(key string, patterns []string, used map[string]bool) (bool, error) {
	found := false
	for _, p := range patterns {
		ok, err := path.Match(p, key)
		if err != nil {
			return false, fmt.Errorf("--keys %s is not a pattern: write a key, or * for any text in it", p)
		}
		if ok {
			used[p], found = true, true
		}
	}
	return found, nil
}

// allKeys is for an error; more than a person reads is counted.
func allKeys(sources []Source) string {
	const most = 20
	var keys []string
	for _, s := range sources {
		keys = append(keys, s.Keys()...)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if len(keys) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(keys[:most], ", "), len(keys)-most)
	}
	if len(keys) == 0 {
		return "none"
	}
	return strings.Join(keys, ", ")
}
