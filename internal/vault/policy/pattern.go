package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// ErrInvalidPattern is wrapped by every error of ParsePattern.
var ErrInvalidPattern = errors.New("invalid path pattern")

// The wildcards: whole segments only.
const (
	anySegment  = "*"
	anySegments = "**"
)

// Pattern selects paths. It is a path (see secret.Path) whose segments may also be
//
//   - any one segment
//     **   any number of segments, none included
//
// so "production/payments/**" selects production/payments and all below it, and
// "*/payments/*" selects production/payments/database and not
// production/payments/database/password. A wildcard is never part of a segment:
// "pay*" is no pattern. The zero Pattern selects nothing.
type Pattern struct{ s string }

// ParsePattern reads a pattern and refuses whatever is not one. As with paths, it
// never cleans, so that no two spellings select the same segments by accident.
func ParsePattern(s string) (Pattern, error) {
	// A pattern keeps the limits of a path. With each wildcard in the place of a
	// segment, the path parser checks them and the characters.
	segments := strings.Split(s, "/")
	for i, segment := range segments {
		if segment == anySegment || segment == anySegments {
			segments[i] = strings.Repeat("x", len(segment))
		}
	}
	if _, err := secret.ParsePath(strings.Join(segments, "/")); err != nil {
		return Pattern{}, fmt.Errorf("%w %q: %w; a whole segment may be * or **", ErrInvalidPattern, s, err)
	}
	return Pattern{s}, nil
}

// String returns the pattern as it was parsed.
func (p Pattern) String() string { return p.s }

// MarshalText makes a Pattern a JSON string.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.s), nil }

// UnmarshalText parses as ParsePattern does.
func (p *Pattern) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePattern(string(b))
	return err
}

// NamesReserved reports whether p names the reserved paths: its first segment is
// written out as theirs is.
func (p Pattern) NamesReserved() bool {
	path, err := secret.ParsePath(segmentsOf(p.s).first())
	return err == nil && path.IsReserved()
}

// Match reports whether p selects path. It takes at most the product of both numbers
// of segments in steps (16 by 16) and allocates nothing.
func (p Pattern) Match(path secret.Path) bool {
	if p.s == "" || path.IsZero() {
		return false
	}
	pattern, rest := segmentsOf(p.s), segmentsOf(path.String())
	// Only the last "**" seen is ever tried again with one more segment: an earlier
	// one could not do better, as what stands between the two has matched already.
	var retryPattern, retryRest segments
	retry := false
	for !rest.done() {
		switch next := pattern.first(); {
		case !pattern.done() && next == anySegments:
			pattern = pattern.tail()
			retryPattern, retryRest, retry = pattern, rest, true
		case !pattern.done() && (next == anySegment || next == rest.first()):
			pattern, rest = pattern.tail(), rest.tail()
		case retry:
			retryRest = retryRest.tail()
			pattern, rest = retryPattern, retryRest
		default:
			return false
		}
	}
	for !pattern.done() && pattern.first() == anySegments {
		pattern = pattern.tail()
	}
	return pattern.done()
}

// segments walks the segments of a path or pattern without splitting it.
type segments struct {
	s   string
	end bool
}

func segmentsOf(s string) segments { return segments{s: s} }

func (w segments) done() bool { return w.end }

func (w segments) first() string {
	first, _, _ := strings.Cut(w.s, "/")
	return first
}

func (w segments) tail() segments {
	_, rest, more := strings.Cut(w.s, "/")
	return segments{rest, !more}
}
