package secret

import "time"

// Resolution is what references and prefixes stand for, as one caller may have it.
// Nothing of it is opened.
type Resolution struct {
	// Named has the version that each reference stands for, in their order.
	Named []Metadata
	// Below has, for each prefix, the current versions of the paths below it that the
	// caller may read, in byte order; nil without prefixes.
	Below [][]Metadata
	// Allowed has the decision about each of Named.
	Allowed []Allowed
	// Until is the first moment at which the answer may be another though nothing is
	// changed, since a rule that it rests on ends. The zero time is never.
	Until time.Time
}

// Allowed is a decision of the engine's that a caller may read a version. It goes to
// Engine.ReadAllowed, and says nothing to anybody else.
type Allowed any

// Earlier is the earlier of two moments of which the zero time is never.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
