package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestOperationsPageKnowsEveryMetric compares the metrics that the program's source
// declares with the rows of the operations page, in both directions.
func TestOperationsPageKnowsEveryMetric(t *testing.T) {
	declared := metricNames(t)
	if len(declared) < 15 {
		t.Fatalf("only %d metrics found: %s", len(declared), declared)
	}
	var rows strings.Builder
	for line := range strings.Lines(read(t, root+"/docs/operations.md")) {
		if strings.HasPrefix(line, "| `") {
			rows.WriteString(strings.SplitN(line, "|", 3)[1])
		}
	}
	var documented []string
	for _, match := range regexp.MustCompile("`(coffer_[a-z_]+)[{`]").FindAllStringSubmatch(rows.String(), -1) {
		documented = append(documented, match[1])
	}
	for _, name := range declared {
		if !slices.Contains(documented, name) {
			t.Errorf("docs/operations.md has no row for the metric %s", name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(declared, name) {
			t.Errorf("docs/operations.md has a row for %s, which is no metric", name)
		}
	}
}

// metricNames are the names in every composite literal prometheus.…Opts of the
// program's own packages.
func metricNames(t *testing.T) (names []string) {
	t.Helper()
	for _, dir := range []string{"internal", "controllers", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if name, ok := metricName(t, path, n); ok {
					names = append(names, name)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func metricName(t *testing.T, path string, n ast.Node) (string, bool) {
	t.Helper()
	literal, ok := n.(*ast.CompositeLit)
	if !ok {
		return "", false
	}
	kind, ok := literal.Type.(*ast.SelectorExpr)
	if !ok || !strings.HasSuffix(kind.Sel.Name, "Opts") {
		return "", false
	}
	if pkg, ok := kind.X.(*ast.Ident); !ok || pkg.Name != "prometheus" {
		return "", false
	}
	parts := map[string]string{}
	for _, element := range literal.Elts {
		field, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if value, ok := field.Value.(*ast.BasicLit); ok && value.Kind == token.STRING {
			text, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			parts[field.Key.(*ast.Ident).Name] = text
		}
	}
	if parts["Name"] == "" {
		t.Errorf("%s: a metric whose name is not a constant text", path)
	}
	return prometheus.BuildFQName(parts["Namespace"], parts["Subsystem"], parts["Name"]), true
}
