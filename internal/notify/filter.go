package notify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// filter says which events a sink is told of.
type filter struct {
	// types are types, or begin them when they end in ".".
	types []string
	// paths are paths, and stand for all below them too.
	paths []string
}

func newFilter(types, paths []string) (filter, error) {
	if len(types) > maxSelectors || len(paths) > maxSelectors {
		return filter{}, fmt.Errorf("types: %d types and %d paths are named; name at most %d of each", len(types), len(paths), maxSelectors)
	}
	var f filter
	for i, t := range types {
		selector := strings.TrimSuffix(t, "*")
		if selector != t && !strings.HasSuffix(selector, ".") || !slices.ContainsFunc(notification.Types(), func(known notification.Type) bool {
			return isOf(known, selector)
		}) {
			return filter{}, fmt.Errorf("types[%d]: %q is no type; write one of %s, or a beginning such as dev.coffer.rotation.*", i, t, known())
		}
		f.types = append(f.types, selector)
	}
	for i, p := range paths {
		path, err := secret.ParsePath(strings.TrimSuffix(p, "/"))
		if err != nil {
			return filter{}, fmt.Errorf("paths[%d]: %q is no path; write one such as production/payments, which stands for all below it too", i, p)
		}
		f.paths = append(f.paths, path.String())
	}
	return f, nil
}

func known() string {
	var names []string
	for _, t := range notification.Types() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

func isOf(t notification.Type, selector string) bool {
	return string(t) == selector || strings.HasSuffix(selector, ".") && strings.HasPrefix(string(t), selector)
}

func (f filter) wants(e *notification.Event) bool {
	ofType := len(f.types) == 0 || slices.ContainsFunc(f.types, func(selector string) bool { return isOf(e.Type, selector) })
	ofPath := len(f.paths) == 0 || slices.ContainsFunc(f.paths, func(p string) bool { return e.Path == p || strings.HasPrefix(e.Path, p+"/") })
	return ofType && ofPath
}
