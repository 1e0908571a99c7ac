package step

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDuration(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0.0 s"},
		{1540 * time.Millisecond, "1.5 s"},
		{59900 * time.Millisecond, "59.9 s"},
		{time.Minute, "1 min 0 s"},
		{4*time.Minute + 29600*time.Millisecond, "4 min 30 s"},
		{61 * time.Minute, "61 min 0 s"},
	} {
		if got := Duration(tc.d); got != tc.want {
			t.Errorf("Duration(%v) = %q, want %q", tc.d, got, tc.want)
		}
	}
}

func TestDoTellsStartEndAndFailure(t *testing.T) {
	var out strings.Builder
	clock := time.Unix(0, 0)
	r := NewPlain(&out, func() time.Time { clock = clock.Add(time.Second); return clock })
	broken := errors.New("broken")
	if err := r.Do("build", func() error { r.Say("inside"); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := r.Do("start", func() error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	want := "==> build\ninside\n    done in 1.0 s: build\n==> start\n    failed after 1.0 s: start\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("the story differs (-want +got):\n%s", diff)
	}
}

func TestBarSaysTenthsInALog(t *testing.T) {
	var out strings.Builder
	bar := NewPlain(&out, time.Now).Bar("packages", 20)
	for range 25 { // more than the total: an estimate may be short
		if err := bar.Add(1); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 10 {
		t.Errorf("%d lines, want 10:\n%s", got, out.String())
	}
	if err := NewPlain(&out, time.Now).Bar("nothing", 0).Add(1); err != nil {
		t.Error(err)
	}
}
