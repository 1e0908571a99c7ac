package docs

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"strings"
	"testing"
)

// sdkPackages are those whose every function and method has an example that runs.
var sdkPackages = []string{"sdk", "sdk/coffertest", "sdk/otelcoffer"}

// withoutExample are methods that fmt, log/slog and errors call, and no program: what
// they are for is in the examples of the types.
var withoutExample = map[string]bool{"String": true, "Format": true, "LogValue": true, "Error": true, "Unwrap": true}

func TestWhatTheSDKExportsHasExamples(t *testing.T) {
	for _, name := range sdkPackages {
		found := parsePackage(t, name)
		count := 0
		need := func(name string, examples []*doc.Example) {
			count++
			for _, example := range examples {
				if example.Output != "" || example.EmptyOutput {
					return
				}
			}
			t.Errorf("%s.%s has no example with an output: write one", found.Name, name)
		}
		methods := func(of string, funcs []*doc.Func) {
			for _, f := range funcs {
				if !withoutExample[f.Name] {
					need(of+f.Name, f.Examples)
				}
			}
		}
		methods("", found.Funcs)
		for _, exported := range found.Types {
			methods("", exported.Funcs)
			methods(exported.Name+".", exported.Methods)
		}
		if count == 0 {
			t.Errorf("nothing is exported by %s", name)
		}
	}
}

// parsePackage reads a package with its tests, and what it exports.
func parsePackage(t *testing.T, folder string) *doc.Package {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseDir(files, root+"/"+folder, func(fs.FileInfo) bool { return true }, parser.ParseComments) //nolint:staticcheck // no build tags here
	if err != nil {
		t.Fatal(err)
	}
	var all []*ast.File
	for _, p := range parsed {
		for _, file := range p.Files {
			all = append(all, file)
		}
	}
	found, err := doc.NewFromFiles(files, all, "github.com/coffer-vault/coffer/"+strings.TrimSuffix(folder, "/"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
