package safetemplate

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// hung is far more than any render takes, also on a machine that does much else.
const hung = 30 * time.Second

// renderBounded renders text over a small and a large value, and fails when that
// makes more than it may, or does not end.
func renderBounded(t *testing.T, text string, large []byte) {
	t.Helper()
	type outcome struct {
		made int
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		out, err := Render(map[string]string{"A": text, "B": text}, map[string][]byte{"user": []byte("c4nary-s3cret"), "large": large})
		done <- outcome{len(out["A"]) + len(out["B"]), err}
	}()
	select {
	case o := <-done:
		if o.made > MaxWork {
			t.Fatalf("the render made %d bytes, and %d are allowed", o.made, MaxWork)
		}
		if o.err != nil && !strings.Contains(text, "c4nary-s3cret") && strings.Contains(o.err.Error(), "c4nary-s3cret") {
			t.Fatalf("the error holds the value: %v", o.err)
		}
	case <-time.After(hung):
		t.Fatalf("a render does not end: %.200q", text)
	}
}

// hostile are templates that would cost much time or memory without the limits.
func hostile() map[string]string {
	fill := func(part string) string { return strings.Repeat(part, MaxBytes/2/len(part)) }
	return map[string]string{
		"large again and again":   fill("{{.large}}"),
		"compared":                fill("{{if eq .large .large}}{{end}}"),
		"a chain of encodings":    "{{.large" + fill("|b64enc") + "}}",
		"quoted quotes":           "{{.large" + fill("|quote") + "}}",
		"printed twice":           "{{$x := .large}}" + fill("{{$x = print $x $x}}"),
		"JSON of all":             fill("{{toJson .}}"),
		"JSON of JSON":            "{{toJson ." + fill("|toJson") + "}}",
		"nested parentheses":      "{{" + strings.Repeat("(", 10_000) + ".user" + strings.Repeat(")", 10_000) + "}}",
		"nested conditions":       fill("{{if .user}}"),
		"nested, and closed":      strings.Repeat("{{if .user}}", 1500) + strings.Repeat("{{end}}", 1500),
		"nested with":             strings.Repeat("{{with .}}", 1500) + "{{.user}}" + strings.Repeat("{{end}}", 1500),
		"all keys, all again":     "{{range .}}" + fill("{{if .}}{{end}}") + "{{end}}",
		"all keys, all of it":     "{{range .}}" + fill("{{.}}") + "{{end}}",
		"a loop over a number":    "{{range 9223372036854775807}}{{end}}",
		"a loop in a loop":        "{{range .}}{{range $}}{{end}}{{end}}",
		"itself":                  `{{template "A" .}}`,
		"a huge number":           "{{print 1e999999999}}",
		"a wide format":           `{{printf "%999999999d" 1}}`,
		"many variables":          fill("{{$a := .large}}"),
		"a comment that is large": "{{/*" + fill("x") + "*/}}",
	}
}

func TestHostileTemplatesEnd(t *testing.T) {
	// Deep recursion would need more than a small stack.
	defer debug.SetMaxStack(debug.SetMaxStack(64 << 20))
	large := []byte(strings.Repeat(`"<`, corev1.MaxSecretSize/2))
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) { renderBounded(t, text, large) })
	}
}

// Whatever the template, a render ends soon and makes no more than it may.
func FuzzRenderIsBounded(f *testing.F) {
	for _, text := range hostile() {
		f.Add(text[:min(len(text), 4096)], 4096)
	}
	f.Add("{{range $k, $v := .}}{{$k}}={{quote $v}}{{end}}", 1<<20)
	f.Fuzz(func(t *testing.T, text string, size int) {
		renderBounded(t, text, []byte(strings.Repeat("x", size&(corev1.MaxSecretSize-1))))
	})
}
