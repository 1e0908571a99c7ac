//go:build failpoints

package faults

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

var invariants = []string{"I1", "I2", "I4", "I6"}

// TestMain is also the worker's main.
func TestMain(m *testing.M) {
	if os.Getenv(workerLog) != "" {
		if err := work(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if results.missing() {
		fmt.Fprintln(os.Stderr, "a fault was not injected")
		code = 1
	}
	table := results.table() + map[bool]string{true: "all held\n", false: "FAILED\n"}[code == 0]
	fmt.Fprint(os.Stdout, "\n"+table)
	if file := os.Getenv("FAULTS_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(table), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// result is a line of the table.
type result struct {
	fault    string
	injected int
	held     map[string]bool
}

// hold notes whether an invariant held, and fails the test when it did not.
func (r *result) hold(t *testing.T, invariant string, violations []string) {
	t.Helper()
	if r.held == nil {
		r.held = map[string]bool{}
	}
	before, known := r.held[invariant]
	r.held[invariant] = len(violations) == 0 && (before || !known)
	for _, violation := range violations {
		t.Errorf("%s does not hold: %s", invariant, violation)
	}
}

// ran reports whether the fault was injected and looked at.
func (r *result) ran() bool { return r.injected > 0 && r.held != nil }

type collection struct {
	mu   sync.Mutex
	rows []*result
}

var results collection

func (c *collection) add(r *result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows = append(c.rows, r)
}

// missing reports whether there is a fault that was not injected.
func (c *collection) missing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.rows, func(r *result) bool { return !r.ran() })
}

func (c *collection) table() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.rows, func(a, b *result) int { return strings.Compare(a.fault, b.fault) })
	var b strings.Builder
	fmt.Fprintf(&b, "%-40s %8s", "fault", "injected")
	for _, invariant := range invariants {
		fmt.Fprintf(&b, "  %-6s", invariant)
	}
	for _, r := range c.rows {
		fmt.Fprintf(&b, "\n%-40s %8d", r.fault, r.injected)
		if !r.ran() {
			b.WriteString("  not run")
			continue
		}
		for _, invariant := range invariants {
			word := "-" // not looked at
			if held, known := r.held[invariant]; known {
				word = map[bool]string{true: "ok", false: "BROKEN"}[held]
			}
			fmt.Fprintf(&b, "  %-6s", word)
		}
	}
	return b.String() + "\n"
}
