package schedule

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"pgregory.net/rapid"
)

// zones switch at different times and by different amounts.
var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "America/Sao_Paulo", "Asia/Gaza"}

// drawTime is later than the day that Samoa left out: two are due at the end of that.
func drawTime(t *rapid.T, name string) time.Time {
	return time.Unix(rapid.Int64Range(1_330_000_000, 2_000_000_000).Draw(t, name), 0).UTC()
}

// TestDailyIsDueOncePerDay whatever the clocks do: on each date that there is, at its time of the day or, where the clocks skip that,
// as soon as they have.
func TestDailyIsDueOncePerDay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone, _ := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		hour, minute := rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute")
		s, err := Parse(Spec{Cron: fmt.Sprintf("%d %d * * *", minute, hour), TimeZone: zone.String()})
		if err != nil {
			t.Fatal(err)
		}
		last := drawTime(t, "last")
		first, _ := s.Next("k", last)
		for last = first; last.Sub(first) < 400*24*time.Hour; {
			next, ok := s.Next("k", last)
			if !ok {
				t.Fatalf("nothing is due after %v", last)
			}
			if gap := next.Sub(last); gap < 22*time.Hour || gap > 26*time.Hour {
				t.Fatalf("%v after %v: %v", next.In(zone), last.In(zone), gap)
			}
			if local := next.In(zone); local.Hour() != hour || local.Minute() != minute {
				if begin, _ := local.ZoneBounds(); !begin.Equal(next) {
					t.Fatalf("%v is not at %02d:%02d", local, hour, minute)
				}
			}
			last = next
		}
	})
}

// TestNextIsLaterAndStable: it is after the last one, the same when it is asked again from any time in between, in a window, and
// not later than jitter and windows make it.
func TestNextIsLaterAndStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("%02d:%02d", rapid.IntRange(0, 23).Draw(t, "hour"), rapid.SampledFrom([]int{0, 15, 30, 59}).Draw(t, "minute"))
		})
		windows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Window {
			return Window{
				Days: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"Mon", "Wed", "Sun"}), 0, 3, rapid.ID).Draw(t, "days"),
				From: clock.Draw(t, "from"), To: clock.Draw(t, "to"),
			}
		}), 0, 3).Draw(t, "windows")
		spec := Spec{
			TimeZone: rapid.SampledFrom(zones).Draw(t, "zone"), Windows: windows,
			Jitter: model.Duration(time.Duration(rapid.IntRange(0, 200_000).Draw(t, "jitter")) * time.Second),
		}
		if rapid.Bool().Draw(t, "cron") {
			spec.Cron = rapid.SampledFrom([]string{"30 2 * * *", "*/20 * * * *", "0 1 * * 1", "15 0 1 * *"}).Draw(t, "line")
		} else {
			spec.Every = model.Duration(time.Duration(rapid.IntRange(1, 10_000).Draw(t, "minutes")) * time.Minute)
		}
		s, err := Parse(spec)
		if err != nil {
			t.Fatal(err)
		}
		last := drawTime(t, "last")
		next, ok := s.Next("k", last)
		if !ok || !next.After(last) {
			t.Fatalf("%v %v after %v", next, ok, last)
		}
		if again, _ := s.Next("k", last); !again.Equal(next) {
			t.Fatalf("%v, and then %v", next, again)
		}
		if len(windows) == 0 {
			return
		}
		if !slices.ContainsFunc(s.openings(next), func(o interval) bool { return !next.Before(o.begin) && next.Before(o.end) }) {
			t.Fatalf("%v is in no window", next.In(s.zone))
		}
		if early, ok := (Schedule{every: s.every, cron: s.cron, zone: s.zone}).Next("k", last); !ok || next.Before(early) {
			t.Fatalf("%v is before %v, when it is due", next, early)
		} else if begin, _ := s.open(early); next.Before(begin) {
			t.Fatalf("%v is before %v, when the window opens", next, begin)
		}
	})
}

// TestJitterSpreads rotations with one schedule, as far as it says.
func TestJitterSpreads(t *testing.T) {
	s, err := Parse(Spec{Cron: "0 3 * * *", Jitter: model.Duration(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	last := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	quarters := map[int]int{}
	for n := range 400 {
		next, _ := s.Next(fmt.Sprint("production/db", n), last)
		offset := next.Sub(time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC))
		if offset < 0 || offset > time.Hour {
			t.Fatalf("%v", next)
		}
		quarters[int(offset/(15*time.Minute))]++
	}
	for quarter := range 4 {
		if quarters[quarter] < 50 {
			t.Errorf("of 400, %d begin in quarter %d of the hour", quarters[quarter], quarter+1)
		}
	}
}
