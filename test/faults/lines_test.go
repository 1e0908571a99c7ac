//go:build failpoints

package faults

import "testing"

func TestWholeLines(t *testing.T) {
	for _, c := range []struct {
		name, text string
		fromStart  bool
		want       string
	}{
		{"nothing yet", "", true, ""},
		{"all whole", "a\nb\n", true, "a\nb\n"},
		{"the last is under way", "a\nb", true, "a\n"},
		{"a mark at a line's end", "\na\nb\n", false, "a\nb\n"},
		{"a mark within a line", "yz\na\nb\n", false, "a\nb\n"},
		{"a mark within the last line", "yz", false, ""},
		{"a mark within the last line, ended since", "yz\n", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(wholeLines([]byte(c.text), c.fromStart)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
