package rotation

import "time"

// Standing is how a rotation stands, for the status of the object that defines it.
type Standing struct {
	// Name is the definition's.
	Name string
	// Denied: its service account may not read or not rotate the path, or the path does not exist; which of them is not told. The times are
	// zero then, and Newest is nil, unless that had made a version.
	Denied bool
	// Next is when it is due, by its schedule or before its credential ends; zero while it is not to be, also because it is under way.
	Next time.Time
	// OverdueSince is since when it is due by time and was not done, because no run began or the run failed; zero when that is not so.
	OverdueSince time.Time
	// Busy: another rotation of the path, such as one of another cluster, has a run that goes on.
	Busy bool
	// Newest is its newest run; nil when it had none.
	Newest *Run
}
