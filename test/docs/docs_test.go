// Package docs holds the documentation to what is there: its links, the manager's
// flags, the conditions' reasons.
package docs

import (
	"bytes"
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/app"
)

const root = "../.."

// pages are the Markdown files of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(root + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root+"/docs", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 8 {
		t.Fatalf("only %d pages found: %s", len(found), found)
	}
	return found
}

// link is the target of a Markdown link or image, without a title.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, _, _ := strings.Cut(match[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), target)); err != nil {
				t.Errorf("%s links to %s: %v", page, match[1], err)
			}
		}
	}
}

func TestOperationsPageKnowsEveryFlag(t *testing.T) {
	var usage bytes.Buffer
	_, err := app.ParseConfig([]string{"-h"}, func(string) string { return "" }, &usage)
	if !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("error is %v, want %v", err, flag.ErrHelp)
	}
	flags := regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(usage.String(), -1)
	if len(flags) == 0 {
		t.Fatalf("no flags in %q", usage.String())
	}
	operations := read(t, root+"/docs/operations.md")
	for _, f := range flags {
		if !strings.Contains(operations, "| `--"+f[1]+"` |") {
			t.Errorf("docs/operations.md has no row for --%s", f[1])
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)`").FindAllStringSubmatch(operations, -1) {
		if !strings.Contains(usage.String(), "\n  -"+row[1]) {
			t.Errorf("docs/operations.md has a row for --%s, which is no flag", row[1])
		}
	}
}

func TestOperationsPageKnowsEveryReason(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), root+"/api/v1alpha1/conditions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	operations := read(t, root+"/docs/operations.md")
	count := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if count++; !strings.Contains(operations, "`"+reason+"`") {
			t.Errorf("docs/operations.md does not know the reason %s", reason)
		}
		return true
	})
	if count == 0 {
		t.Error("no reasons found")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
