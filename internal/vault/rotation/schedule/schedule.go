// Package schedule says when a rotation is due: every so often or by a cron line, in a time zone, within windows, spread by
// a jitter that is the same on every replica. It is pure: the time is an argument.
package schedule

import (
	"errors"
	"fmt"
	"hash/fnv"
	"time"
	_ "time/tzdata" // the manager's image has no database of time zones

	"github.com/prometheus/common/model"
	"github.com/robfig/cron/v3"
)

// Limits of a schedule.
const (
	// MinEvery keeps a typing error from rotating without an end.
	MinEvery = time.Minute
	// MaxWindows bounds Spec.Windows.
	MaxWindows = 32
)

// ErrInvalid is wrapped by errors about a schedule that says nothing sensible; what to mend is in the message.
var ErrInvalid = errors.New("invalid schedule")

// Spec is a schedule as people write it. One of Every and Cron is given, or neither: then nothing is due by time.
type Spec struct {
	// Every is the time between rotations, such as "30d" or "12h". A day has 24 hours, whatever the clocks do.
	Every model.Duration `json:"every,omitempty"`
	// Cron is a line of five fields, minute, hour, day of month, month and day of week, or a name such as "@weekly".
	Cron string `json:"cron,omitempty"`
	// TimeZone is the name of an IANA time zone in which Cron and Windows are read; UTC when empty.
	TimeZone string `json:"timeZone,omitempty"`
	// Windows are when a rotation may begin; at any time when empty.
	Windows []Window `json:"windows,omitempty"`
	// Jitter is how much later a rotation may begin, so that many with one schedule do not begin together.
	Jitter model.Duration `json:"jitter,omitempty"`
}

// Schedule is a Spec that was read.
type Schedule struct {
	every   time.Duration
	cron    cron.Schedule // nil without
	zone    *time.Location
	windows []window
	jitter  time.Duration
}

// Parse reads s.
//
// Errors: ErrInvalid.
func Parse(s Spec) (Schedule, error) {
	parsed := Schedule{every: time.Duration(s.Every), jitter: time.Duration(s.Jitter)}
	switch {
	case s.Every != 0 && s.Cron != "":
		return Schedule{}, fmt.Errorf("%w: both every and cron are given; give one of them", ErrInvalid)
	case s.Every < 0 || s.Every != 0 && parsed.every < MinEvery:
		return Schedule{}, fmt.Errorf("%w: every %s; give at least %s", ErrInvalid, s.Every, model.Duration(MinEvery))
	case s.Jitter < 0:
		return Schedule{}, fmt.Errorf("%w: a jitter of %s; give none, or one above 0", ErrInvalid, s.Jitter)
	case len(s.Windows) > MaxWindows:
		return Schedule{}, fmt.Errorf("%w: %d windows; give at most %d", ErrInvalid, len(s.Windows), MaxWindows)
	}
	var err error
	if parsed.zone, err = time.LoadLocation(s.TimeZone); err != nil || s.TimeZone == "Local" {
		return Schedule{}, fmt.Errorf("%w: the time zone %q is not known; write one such as Europe/Berlin, or UTC", ErrInvalid, s.TimeZone)
	}
	if s.Cron != "" {
		if parsed.cron, err = parseCron(s.Cron); err != nil {
			return Schedule{}, err
		}
	}
	for i, w := range s.Windows {
		read, err := parseWindow(w)
		if err != nil {
			return Schedule{}, fmt.Errorf("window %d: %w", i+1, err)
		}
		parsed.windows = append(parsed.windows, read)
	}
	if _, ok := parsed.open(time.Unix(0, 0)); !ok {
		return Schedule{}, fmt.Errorf("%w: no window is ever open", ErrInvalid)
	}
	return parsed, nil
}

// Next is when the rotation after the one at last is due; false when none ever is. Key, such as the name of the rotation,
// chooses how much of the jitter it gets: it is the same for one key and time. It is after last, lies in a window, and does
// not move with the time at which it is asked.
func (s Schedule) Next(key string, last time.Time) (time.Time, bool) {
	var due time.Time
	switch {
	case s.cron != nil:
		var ok bool
		if due, ok = nextWall(s.cron, s.zone, last); !ok {
			return time.Time{}, false
		}
	case s.every > 0:
		due = last.Add(s.every)
	default:
		return time.Time{}, false
	}
	return s.spread(key, due)
}

// spread moves a due time into a window, and by the jitter as far as the window goes on.
func (s Schedule) spread(key string, due time.Time) (time.Time, bool) {
	jitter := s.jitterOf(key, due)
	if len(s.windows) == 0 {
		return due.Add(jitter).UTC(), true
	}
	begin, ok := s.open(due)
	if !ok {
		return time.Time{}, false
	}
	if left := s.closes(begin).Sub(begin); jitter >= left {
		jitter %= left
	}
	return begin.Add(jitter).UTC(), true
}

// jitterOf is from 0 to the jitter, in whole seconds.
func (s Schedule) jitterOf(key string, due time.Time) time.Duration {
	seconds := uint64(s.jitter / time.Second)
	if seconds == 0 {
		return 0
	}
	hash := fnv.New64a()
	_, _ = fmt.Fprintf(hash, "%d %s", due.Unix(), key)
	return time.Duration(hash.Sum64()%(seconds+1)) * time.Second
}

// Last is the newest of times that is not after now, to give to Next; false when none is. One after now was written by a clock
// that was wrong: to believe it would put the next rotation off by as much.
func Last(now time.Time, times ...time.Time) (newest time.Time, ok bool) {
	for _, t := range times {
		if !t.IsZero() && !t.After(now) && t.After(newest) {
			newest, ok = t, true
		}
	}
	return newest, ok
}
