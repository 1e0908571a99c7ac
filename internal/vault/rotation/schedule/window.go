package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is a time of the day, on some days of the week, by the clocks of the schedule's time zone.
type Window struct {
	// Days are those on which the window begins, such as "Mon"; every day when empty.
	Days []string `json:"days,omitempty"`
	// From and To are such as "22:00"; the window ends just before To. When To is not after From it is To of the next day,
	// and "24:00" is the end of the day.
	From string `json:"from"`
	To   string `json:"to"`
}

// window is a Window that was read.
type window struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes since midnight; to is after from
}

const minutesOfDay = 24 * 60

func parseWindow(w Window) (window, error) {
	var read window
	var err error
	if read.from, err = parseClock(w.From); err != nil {
		return window{}, err
	}
	if read.to, err = parseClock(w.To); err != nil {
		return window{}, err
	}
	if read.from == minutesOfDay {
		return window{}, fmt.Errorf("%w: a window from 24:00; write 00:00, and the day after", ErrInvalid)
	}
	if read.to <= read.from {
		read.to += minutesOfDay
	}
	for _, name := range w.Days {
		day, ok := parseDay(name)
		if !ok {
			return window{}, fmt.Errorf("%w: no day is called %q; write Mon, Tue, Wed, Thu, Fri, Sat or Sun", ErrInvalid, name)
		}
		read.days[day] = true
	}
	if len(w.Days) == 0 {
		read.days = [7]bool{true, true, true, true, true, true, true}
	}
	return read, nil
}

func parseDay(name string) (time.Weekday, bool) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if full := day.String(); strings.EqualFold(name, full) || strings.EqualFold(name, full[:3]) {
			return day, true
		}
	}
	return 0, false
}

func parseClock(s string) (int, error) {
	if s == "24:00" {
		return minutesOfDay, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("%w: the time of day %q; write it as 22:00", ErrInvalid, s)
	}
	return t.Hour()*60 + t.Minute(), nil
}

// interval is one opening of a window: from begin to just before end.
type interval struct{ begin, end time.Time }

// openings are those of all windows that begin on the day before t's and on the days until two weeks after, those of each
// window in order. An opening that the clocks skip as a whole is none.
func (s Schedule) openings(t time.Time) []interval {
	local := t.In(s.zone)
	var found []interval
	for offset := -2; offset <= 14; offset++ {
		midnight := time.Date(local.Year(), local.Month(), local.Day()+offset, 0, 0, 0, 0, time.UTC) // a wall clock time
		for _, w := range s.windows {
			if !w.days[midnight.Weekday()] {
				continue
			}
			at := func(minutes int) time.Time {
				return instantOf(midnight.Add(time.Duration(minutes)*time.Minute), s.zone)
			}
			if opening := (interval{at(w.from), at(w.to)}); opening.begin.Before(opening.end) {
				found = append(found, opening)
			}
		}
	}
	return found
}

// open is the first time from t on at which a window is open; false when none is in two weeks.
func (s Schedule) open(t time.Time) (time.Time, bool) {
	if len(s.windows) == 0 {
		return t, true
	}
	var first time.Time
	for _, o := range s.openings(t) {
		if !o.end.After(t) {
			continue
		}
		begin := o.begin
		if begin.Before(t) {
			begin = t
		}
		if first.IsZero() || begin.Before(first) {
			first = begin
		}
	}
	return first, !first.IsZero()
}

// closes is when no window is open any more that is at t.
func (s Schedule) closes(t time.Time) time.Time {
	openings := s.openings(t)
	slices.SortFunc(openings, func(a, b interval) int { return a.begin.Compare(b.begin) })
	end := t
	for _, o := range openings {
		if !o.begin.After(end) && o.end.After(end) {
			end = o.end
		}
	}
	return end
}
