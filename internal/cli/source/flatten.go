package source

import "fmt"

// Bounds of what a tree may be: no file of settings comes near them, and aliases in YAML
// cannot make much of little.
const (
	maxDepth = 32
	maxNodes = 100_000
)

// flattening makes names and values of a tree: the names on the way to a value are joined
// with ".", and the items of a list are numbered from 0.
type flattening struct {
	file    string
	entries []Entry
	// skipped says which names have no value.
	skipped []string
	nodes   int
}

// parsed is the file, as one source.
func (f *flattening) parsed() (Parsed, error) {
	p, err := one(f.file, f.entries)
	p.Skipped = f.skipped
	return p, err
}

// join makes the name of a node below prefix, which is at a depth counted from 0.
func (f *flattening) join(prefix, name string, depth int) (string, error) {
	f.nodes++
	if depth >= maxDepth || f.nodes > maxNodes {
		return "", fmt.Errorf("%s is nested too deeply, or has too much in it, for settings: at most %d levels and %d nodes", f.file, maxDepth, maxNodes)
	}
	if depth == 0 {
		return name, nil
	}
	return prefix + "." + name, nil
}

func (f *flattening) leaf(key string, value []byte) {
	f.entries = append(f.entries, Entry{key, value})
}

func (f *flattening) null(key string) {
	f.skipped = append(f.skipped, fmt.Sprintf("%s of %s is null", key, f.file))
}
