//go:build failpoints

package faults

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestEveryFailpointOfTheOperatorHasAFlow: a failpoint in the source of the operator is one that it is killed at.
func TestEveryFailpointOfTheOperatorHasAFlow(t *testing.T) {
	killed := map[string]bool{}
	for _, f := range operatorFlows {
		for _, step := range f.steps {
			killed[f.failpoint+"/"+step] = true
		}
	}
	steps := sourceOf(t, "../../internal/failpoint").constants
	found := map[string]bool{}
	for _, folder := range append(foldersBelow(t, "../../controllers"), "../../internal/rollout") {
		for _, point := range sourceOf(t, folder).failpoints(t, steps) {
			found[point] = true
			if !killed[point] {
				t.Errorf("%s, in %s, has no flow: name in operatorFlows what makes the operator come to it", point, folder)
			}
		}
	}
	for point := range killed {
		if !found[point] {
			t.Errorf("%s has a flow, and is not found in the source", point)
		}
	}
}

// source is a package as it is written, without tests.
type source struct {
	functions []*ast.FuncDecl
	constants map[string]string // those of strings
}

func sourceOf(t *testing.T, folder string) source {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	must(t, err)
	s := source{constants: map[string]string{}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		must(t, err)
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				s.functions = append(s.functions, d)
			case *ast.GenDecl:
				s.note(d)
			}
		}
	}
	return s
}

func (s source) note(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		value, ok := spec.(*ast.ValueSpec)
		if !ok || d.Tok != token.CONST {
			continue
		}
		for i, expression := range value.Values {
			if literal, ok := expression.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				s.constants[value.Names[i].Name], _ = strconv.Unquote(literal.Value)
			}
		}
	}
}

// failpoints are those that the source has, as flow/step: of failpoint.Hit, and of a function that passes its step on to that.
func (s source) failpoints(t *testing.T, steps map[string]string) (points []string) {
	t.Helper()
	passing := map[string]string{} // flows, by the name of the function
	s.calls(func(in string, call *ast.CallExpr) {
		if qualified(call.Fun) != "failpoint.Hit" {
			return
		}
		flow, known := s.constants[qualified(call.Args[0])]
		if !known {
			t.Errorf("the flow of failpoint.Hit in %s is no constant of its package", in)
		}
		if step := steps[strings.TrimPrefix(qualified(call.Args[1]), "failpoint.")]; step != "" {
			points = append(points, flow+"/"+step)
		} else {
			passing[in] = flow
		}
	})
	s.calls(func(in string, call *ast.CallExpr) {
		name := qualified(call.Fun)
		flow, passes := passing[name[strings.LastIndex(name, ".")+1:]]
		if !passes || len(call.Args) == 0 {
			return
		}
		step := steps[strings.TrimPrefix(qualified(call.Args[0]), "failpoint.")]
		if step == "" {
			t.Errorf("the step of %s in %s is no constant of failpoint", name, in)
		}
		points = append(points, flow+"/"+step)
	})
	return points
}

// calls are those in functions of the package.
func (s source) calls(f func(in string, call *ast.CallExpr)) {
	for _, function := range s.functions {
		ast.Inspect(function, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				f(function.Name.Name, call)
			}
			return true
		})
	}
}

// qualified is a name such as failpoint.Hit; empty for what is none.
func qualified(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return qualified(e.X) + "." + e.Sel.Name
	}
	return ""
}

func foldersBelow(t *testing.T, root string) (folders []string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	}))
	return folders
}
