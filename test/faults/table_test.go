//go:build failpoints

package faults

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var invariants = []string{"I1", "I2", "I3", "I4", "I5", "I6"}

// TestMain is also the worker's main.
func TestMain(m *testing.M) {
	if rootKey := os.Getenv(operatorProcess); rootKey != "" {
		if err := operate(context.Background(), rootKey); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(workerLog) != "" {
		if err := work(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	fmt.Fprint(os.Stdout, header())
	code := m.Run()
	if os.Getenv("FAULTS_RUN") != "" && results.empty() {
		fmt.Fprintln(os.Stderr, "FAULTS_RUN names no fault: it is a regular expression such as '^put/begun$' or '^postgres/'")
		code = 1
	}
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

// line is the row as it is printed.
func (r *result) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-56s %8d", r.fault, r.injected)
	if !r.ran() {
		return b.String() + "  not run\n"
	}
	for _, invariant := range invariants {
		word := "-" // not looked at
		if held, known := r.held[invariant]; known {
			word = map[bool]string{true: "ok", false: "BROKEN"}[held]
		}
		fmt.Fprintf(&b, "  %-6s", word)
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}

func header() string {
	line := fmt.Sprintf("%-56s %8s", "fault", "injected")
	for _, invariant := range invariants {
		line += fmt.Sprintf("  %-6s", invariant)
	}
	return strings.TrimRight(line, " ") + "\n"
}

type collection struct {
	mu   sync.Mutex
	rows []*result
}

var results collection

// begin adds a row, of a fault that has not been injected yet.
func (c *collection) begin(fault string) *result {
	c.mu.Lock()
	defer c.mu.Unlock()
	row := &result{fault: fault}
	c.rows = append(c.rows, row)
	return row
}

// end prints a row, and how to repeat what failed.
func (c *collection) end(t *testing.T, row *result, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprint(os.Stdout, row.line())
	if t.Failed() {
		t.Logf("repeat with: make faults FAULTS_RUN='^%s$' FAULTS_SEED=%d", name, seed(t))
	}
}

func (c *collection) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.rows) == 0
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
	table := header()
	for _, r := range c.rows {
		table += r.line()
	}
	return table
}

// asked matches the names of the faults to inject.
var asked = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(os.Getenv("FAULTS_RUN")) })

// seed is what the random work of all faults begins with.
func seed(t *testing.T) uint64 {
	t.Helper()
	given := os.Getenv("FAULTS_SEED")
	if given == "" {
		return 1
	}
	n, err := strconv.ParseUint(given, 10, 64)
	if err != nil {
		t.Fatalf("FAULTS_SEED is no number: %v", err)
	}
	return n
}
