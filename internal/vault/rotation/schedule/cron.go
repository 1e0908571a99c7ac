package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// parseCron reads a line. Its times are wall clock times, for which it is read in UTC.
func parseCron(line string) (cron.Schedule, error) {
	if strings.Contains(line, "TZ=") {
		return nil, fmt.Errorf("%w: cron %q; give the time zone as timeZone", ErrInvalid, line)
	}
	if strings.HasPrefix(line, "@every") {
		return nil, fmt.Errorf("%w: cron %q; give the time as every", ErrInvalid, line)
	}
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	parsed, err := parser.Parse("TZ=UTC " + line)
	if err != nil {
		return nil, fmt.Errorf("%w: cron %q: %w; write minute, hour, day of month, month and day of week, such as 30 3 * * 1", ErrInvalid, line, err)
	}
	if parsed.Next(time.Unix(0, 0).UTC()).IsZero() {
		return nil, fmt.Errorf("%w: cron %q is never due", ErrInvalid, line)
	}
	return parsed, nil
}

// nextWall is the first time after last at which the clocks in zone show a time of the schedule. What they skip in spring is due
// when they have skipped it, and what they show twice in autumn is due the first time: so a daily rotation happens once each
// day.
func nextWall(s cron.Schedule, zone *time.Location, last time.Time) (time.Time, bool) {
	wall := wallOf(last.In(zone))
	for {
		if wall = s.Next(wall); wall.IsZero() {
			return time.Time{}, false
		}
		if due := instantOf(wall, zone); due.After(last) {
			return due, true
		}
	}
}

// wallOf is what the clocks show at t, as if they stood in UTC.
func wallOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instantOf is the first time at which the clocks in zone show wall, or at which they have skipped it.
func instantOf(wall time.Time, zone *time.Location) time.Time {
	// Clocks are put forward and back by a day at most. A time that they show twice is that of the offset before, and so is
	// one that they skip: counted on with it, it lies behind the moment at which they skip it.
	around := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), zone)
	_, before := around.Add(-25 * time.Hour).Zone()
	first := wall.Add(-time.Duration(before) * time.Second).In(zone)
	if wallOf(first).Equal(wall) {
		return first
	}
	if !wallOf(around).Equal(wall) { // skipped
		if begin, _ := first.ZoneBounds(); !begin.IsZero() {
			return begin
		}
	}
	return around
}
