package audit

import (
	"fmt"
	"slices"
	"time"
)

// MonthsAhead is how many months after the present one have a place in the database, so
// that whoever makes them may fail for as long.
const MonthsAhead = 2

// Month is a calendar month in UTC. The log is kept by months of Entry.At.
type Month struct{ start time.Time }

// MonthOf is the month in which t lies.
func MonthOf(t time.Time) Month {
	t = t.UTC()
	return Month{time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)}
}

// Add is the month n months later.
func (m Month) Add(n int) Month { return Month{m.start.AddDate(0, n, 0)} }

// Start is the first moment of the month.
func (m Month) Start() time.Time { return m.start }

// End is the first moment after the month.
func (m Month) End() time.Time { return m.Add(1).start }

// String is like 2026-12.
func (m Month) String() string { return fmt.Sprintf("%04d-%02d", m.start.Year(), m.start.Month()) }

// Part is a part of the log that is stored by itself: the rows with From <= At < To. A
// zero From is the beginning of time, and a zero To its end.
type Part struct {
	Name     string
	From, To time.Time
}

// Holds reports whether every row of the month has its place in the part.
func (p Part) Holds(m Month) bool {
	return !p.From.After(m.Start()) && (p.To.IsZero() || !p.To.Before(m.End()))
}

// MonthsToMake are the months without a part: the one of now, those ahead, and earlier
// ones for which there are rows. Rows of a month that is further ahead, from a
// clock that is wrong, wait until it comes.
func MonthsToMake(now time.Time, parts []Part, withRows []Month) []Month {
	wanted := make([]Month, 0, 1+MonthsAhead+len(withRows))
	present := MonthOf(now)
	for n := range 1 + MonthsAhead {
		wanted = append(wanted, present.Add(n))
	}
	for _, m := range withRows {
		if m.start.Before(present.start) {
			wanted = append(wanted, m)
		}
	}
	missing := wanted[:0]
	for _, m := range wanted {
		if !slices.ContainsFunc(parts, func(p Part) bool { return p.Holds(m) }) {
			missing = append(missing, m)
		}
	}
	return missing
}

// Expired are the parts that hold nothing but rows of months that ended more than keep
// whole months before the one of now, in the order given. Nothing expires when keep
// is 0.
func Expired(now time.Time, keep int, parts []Part) []Part {
	if keep <= 0 {
		return nil
	}
	horizon := MonthOf(now).Add(-keep).Start()
	var expired []Part
	for _, p := range parts {
		if !p.To.IsZero() && !p.To.After(horizon) {
			expired = append(expired, p)
		}
	}
	return expired
}
