package safetemplate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// The limits of a template, which keep the work of one render small whatever a
// tenant writes: text/template itself cannot be stopped.
const (
	// MaxBytes bounds the text of all templates of one owner.
	MaxBytes = 64 << 10
	// MaxRangeKeys bounds the keys that a template with range may run over.
	MaxRangeKeys = 256
	// MaxWork bounds the bytes that functions and output of one owner's
	// templates may make together: 16 times the largest Secret.
	MaxWork = 16 << 20
)

// errWork is returned by the functions and the writer when a render makes more
// than MaxWork.
var errWork = fmt.Errorf("it makes more than %d bytes", MaxWork)

// Functions lists, sorted, what a template may call. All are pure functions of
// their arguments. Of text/template's own only those that do next to no work are
// among them; the others are left out, or replaced by ones that count it.
func Functions() []string {
	names := slices.Collect(maps.Keys(new(renderer).functions()))
	names = append(names, builtins...)
	slices.Sort(names)
	return names
}

// builtins are the functions of text/template whose work does not grow with their
// arguments.
var builtins = []string{"and", "or", "not", "len"}

// Check refuses, as ErrTemplate, the templates that would be refused whatever the data.
func Check(templates map[string]string) error {
	if err := checkTemplateSize(templates); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(templates)) {
		if _, err := new(renderer).parse(key, templates[key]); err != nil {
			return fmt.Errorf("%w: key %q: %w", ErrTemplate, key, err)
		}
	}
	return nil
}

func checkTemplateSize(templates map[string]string) error {
	total := 0
	for _, text := range templates {
		total += len(text)
	}
	if total > MaxBytes {
		return fmt.Errorf("%w: the templates have %d bytes together; at most %d are allowed", ErrTemplate, total, MaxBytes)
	}
	return nil
}

// Render renders every template over data, by key. Its errors wrap ErrTemplate and hold nothing of data.
func Render(templates map[string]string, data map[string][]byte) (map[string][]byte, error) {
	if err := checkTemplateSize(templates); err != nil {
		return nil, err
	}
	values := make(map[string]string, len(data))
	for key, value := range data {
		values[key] = string(value)
	}
	r := &renderer{values: values}
	rendered := make(map[string][]byte, len(templates))
	for _, key := range slices.Sorted(maps.Keys(templates)) {
		out, err := r.render(key, templates[key])
		if err != nil {
			return nil, fmt.Errorf("%w: key %q: %w", ErrTemplate, key, err)
		}
		rendered[key] = out
	}
	return rendered, nil
}

// renderer renders the templates of one owner; work counts over all of them.
type renderer struct {
	values map[string]string
	work   int
}

// parse returns nil for a template without any content.
func (r *renderer) parse(key, text string) (*template.Template, error) {
	tmpl, err := template.New(key).Option("missingkey=error").Funcs(r.functions()).Parse(text)
	if err != nil {
		return nil, err
	}
	if tmpl.Tree == nil || tmpl.Root == nil {
		return nil, nil
	}
	if len(tmpl.Templates()) > 1 {
		return nil, errors.New("define and block are not allowed")
	}
	c := checker{keys: len(r.values)}
	return tmpl, c.list(tmpl.Root)
}

func (r *renderer) render(key, text string) ([]byte, error) {
	tmpl, err := r.parse(key, text)
	if err != nil {
		return nil, err
	}
	if tmpl == nil {
		return []byte{}, nil
	}
	var out bytes.Buffer
	if err := tmpl.Execute(&meter{r, &out}, r.values); err != nil {
		return nil, withoutValues(err)
	}
	return out.Bytes(), nil
}

// missingKey finds the key in the error that missingkey=error makes. The key comes
// from the text of the template.
var missingKey = regexp.MustCompile(`map has no entry for key ("[^"]*")`)

// withoutValues keeps of an execution error what cannot hold a value: our own
// errors, and the key that a field of the template names.
func withoutValues(err error) error {
	for _, ours := range []error{errWork, errNotBase64, ErrNoSuchKey} {
		if errors.Is(err, ours) {
			return ours
		}
	}
	if found := missingKey.FindStringSubmatch(err.Error()); found != nil {
		return fmt.Errorf("%w: %s", ErrNoSuchKey, found[1])
	}
	return errors.New("a function in it does not take what it is given")
}

// spend counts bytes made.
func (r *renderer) spend(n int) error {
	r.work += n
	if r.work > MaxWork {
		return errWork
	}
	return nil
}

// meter is the output of a render.
type meter struct {
	renderer *renderer
	out      *bytes.Buffer
}

func (m *meter) Write(p []byte) (int, error) {
	if err := m.renderer.spend(len(p)); err != nil {
		return 0, err
	}
	return m.out.Write(p)
}

// ErrTemplate is wrapped by errors about a template that is not allowed, or cannot be rendered.
var ErrTemplate = errors.New("the template cannot be rendered")

// ErrNoSuchKey is wrapped by errors about a template that names a key which the data do not have.
var ErrNoSuchKey = errors.New("it names a key that is not there")

var errNotBase64 = errors.New("b64dec is given something that is not standard base64")

// functions returns the functions that Coffer adds. The name of each is that of
// sprig where sprig has it, so that templates read as elsewhere.
func (r *renderer) functions() template.FuncMap {
	return template.FuncMap{
		"b64enc": r.text(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
		"b64dec": func(s string) (string, error) {
			decoded, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				return "", errNotBase64
			}
			return string(decoded), r.spend(len(decoded))
		},
		"quote": r.text(func(s string) string {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
		}),
		"squote":   r.text(func(s string) string { return "'" + s + "'" }),
		"upper":    r.text(strings.ToUpper),
		"lower":    r.text(strings.ToLower),
		"trim":     r.text(strings.TrimSpace),
		"urlquery": r.text(url.QueryEscape),
		"urlpath":  r.text(url.PathEscape),
		"toJson": func(v any) (string, error) {
			encoded, err := json.Marshal(v)
			if err != nil {
				return "", errors.New("toJson cannot encode what it is given")
			}
			return string(encoded), r.spend(len(encoded))
		},
		"index": func(m map[string]string, key string) (string, error) {
			value, ok := m[key]
			if !ok {
				return "", ErrNoSuchKey
			}
			return value, r.spend(len(key))
		},
		"hasKey": func(m map[string]string, key string) (bool, error) {
			_, ok := m[key]
			return ok, r.spend(len(key))
		},
		"eq": func(a, b string) (bool, error) { return a == b, r.spend(len(a)) },
		"ne": func(a, b string) (bool, error) { return a != b, r.spend(len(a)) },
		"default": func(fallback, value string) string {
			if value == "" {
				return fallback
			}
			return value
		},
		"print": func(parts ...string) (string, error) {
			joined := strings.Join(parts, "")
			return joined, r.spend(len(joined))
		},
	}
}

// text makes a function of a string one that counts its work. The argument is
// counted before f runs, at the most f can make of a byte (urlquery: 3).
func (r *renderer) text(f func(string) string) func(string) (string, error) {
	return func(s string) (string, error) {
		if err := r.spend(3 * len(s)); err != nil {
			return "", err
		}
		return f(s), nil
	}
}

// checker refuses what could run without end or reach beyond the list of
// functions.
type checker struct {
	keys int
	// rebound says that the dot may be something else than the keys: inside with or
	// range.
	rebound bool
}

func (c *checker) list(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		if err := c.node(node); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) node(node parse.Node) error {
	switch n := node.(type) {
	case *parse.TextNode, *parse.CommentNode, *parse.BreakNode, *parse.ContinueNode:
		return nil
	case *parse.ActionNode:
		return c.pipe(n.Pipe)
	case *parse.IfNode:
		return c.branch(&n.BranchNode)
	case *parse.WithNode:
		return c.rebinding(&n.BranchNode)
	case *parse.RangeNode:
		return c.rangeNode(n)
	default:
		return fmt.Errorf("%q is not allowed in a template", abbreviate(node.String()))
	}
}

func (c *checker) branch(n *parse.BranchNode) error {
	return errors.Join(c.pipe(n.Pipe), c.list(n.List), c.list(n.ElseList))
}

// rangeNode allows one range over the keys: nested ones multiply, and a range over
// a number needs no data at all.
func (c *checker) rangeNode(n *parse.RangeNode) error {
	if c.rebound {
		return errors.New("a range inside range or with is not allowed")
	}
	if !overKeys(n.Pipe) {
		return errors.New("range runs over the keys only: write {{ range $key, $value := . }}")
	}
	if c.keys > MaxRangeKeys {
		return fmt.Errorf("range is not allowed over %d keys; at most %d", c.keys, MaxRangeKeys)
	}
	return c.rebinding(&n.BranchNode)
}

func (c *checker) rebinding(n *parse.BranchNode) error {
	before := c.rebound
	c.rebound = true
	defer func() { c.rebound = before }()
	return c.branch(n)
}

// overKeys reports whether the pipe is exactly "." or "$".
func overKeys(pipe *parse.PipeNode) bool {
	if pipe == nil || len(pipe.Cmds) != 1 || len(pipe.Cmds[0].Args) != 1 {
		return false
	}
	switch arg := pipe.Cmds[0].Args[0].(type) {
	case *parse.DotNode:
		return true
	case *parse.VariableNode:
		return len(arg.Ident) == 1 && arg.Ident[0] == "$"
	default:
		return false
	}
}

func (c *checker) pipe(pipe *parse.PipeNode) error {
	if pipe == nil {
		return nil
	}
	for _, variable := range pipe.Decl {
		if variable.Ident[0] == "$" {
			return errors.New("the variable $ cannot be set")
		}
	}
	for _, command := range pipe.Cmds {
		for _, arg := range command.Args {
			if err := c.argument(arg); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) argument(arg parse.Node) error {
	switch n := arg.(type) {
	case *parse.IdentifierNode:
		if allowed := Functions(); !slices.Contains(allowed, n.Ident) {
			return fmt.Errorf("the function %q is not allowed; allowed are %s", abbreviate(n.Ident), strings.Join(allowed, ", "))
		}
		return nil
	case *parse.PipeNode:
		return c.pipe(n)
	case *parse.ChainNode:
		return c.argument(n.Node)
	default: // constants, fields, variables and the dot
		return nil
	}
}

// abbreviate keeps a message short.
func abbreviate(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
