package policy

import "time"

// until is the first moment after the decision at which the answer is another by time
// alone, since a rule that it rests on has ended; zero when it stays. allowed is the
// answer now.
func until(matched []Match, allowed bool) time.Time {
	var first time.Time
	for _, m := range matched {
		if m.Outcome != Applied || m.ExpiresAt.IsZero() || !first.IsZero() && !m.ExpiresAt.Before(first) {
			continue
		}
		if allowedAt(matched, m.ExpiresAt) != allowed {
			first = m.ExpiresAt
		}
	}
	return first
}

// allowedAt is the answer of those of matched that apply now and still do at a later
// moment: no rule begins by time alone.
func allowedAt(matched []Match, at time.Time) bool {
	allowed := false
	for _, m := range matched {
		if m.Outcome != Applied || !m.ExpiresAt.IsZero() && !at.Before(m.ExpiresAt) {
			continue
		}
		if m.Effect != Allow {
			return false
		}
		allowed = true
	}
	return allowed
}
