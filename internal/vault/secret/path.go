package secret

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of a path. They are Coffer's own: long enough for
// environment/team/service/component/name and short enough for a B-tree index
// entry and a Kubernetes status field.
const (
	MaxPathBytes    = 512
	MaxPathSegments = 16
)

// ErrInvalidPath is wrapped by every error of ParsePath and ParsePrefix.
var ErrInvalidPath = errors.New("invalid path")

// Path names one secret: 1 to 16 segments of [a-z0-9._-] joined by "/", at most
// 512 bytes, such as "production/payments/database". The zero Path names
// nothing. A Path is only made by ParsePath, so that policy, store and audit all
// see the same bytes.
type Path struct{ s string }

// ParsePath reads a path and refuses whatever is not one. It never cleans: "a//b",
// "/a", "a/", "A", "a/../b" and "a%2fb" are errors, not other spellings of a path.
func ParsePath(s string) (Path, error) {
	if err := checkSegments(s); err != nil {
		return Path{}, err
	}
	return Path{s}, nil
}

// String returns the path as it was parsed.
func (p Path) String() string { return p.s }

// IsZero reports whether p names nothing.
func (p Path) IsZero() bool { return p.s == "" }

// reserved is the first segment of the paths that stand for parts of the vault
// itself, such as sys/keyring: policies speak of them, and no secret can have one.
const reserved = "sys"

// IsReserved reports whether p is sys or below it.
func (p Path) IsReserved() bool { return p.s == reserved || strings.HasPrefix(p.s, reserved+"/") }

// System is the reserved path of a part of the vault: System("keyring") is
// sys/keyring. The name is a constant of the program; System panics when it is no
// path.
func System(name string) Path {
	p, err := ParsePath(reserved + "/" + name)
	if err != nil {
		panic("secret: " + err.Error())
	}
	return p
}

// MarshalText makes a Path a JSON string.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.s), nil }

// UnmarshalText parses as ParsePath does.
func (p *Path) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePath(string(b))
	return err
}

// Prefix selects the paths below it: the empty Prefix selects all, and
// "production/payments/" selects every path with those first segments.
type Prefix struct{ s string }

// ParsePrefix reads "" or a path followed by an optional "/". "production/pay"
// and "production/pay/" are the same prefix, and neither selects
// "production/payments/x": prefixes end at a segment.
func ParsePrefix(s string) (Prefix, error) {
	if s == "" {
		return Prefix{}, nil
	}
	s = strings.TrimSuffix(s, "/")
	if err := checkSegments(s); err != nil {
		return Prefix{}, err
	}
	return Prefix{s + "/"}, nil
}

// String returns "" or the prefix with its closing "/".
func (p Prefix) String() string { return p.s }

// Contains reports whether path lies below p.
func (p Prefix) Contains(path Path) bool { return strings.HasPrefix(path.s, p.s) }

func checkSegments(s string) error {
	if s == "" {
		return fmt.Errorf("%w: it is empty; write it like production/payments/database", ErrInvalidPath)
	}
	if len(s) > MaxPathBytes {
		return fmt.Errorf("%w: it has %d bytes; at most %d are allowed", ErrInvalidPath, len(s), MaxPathBytes)
	}
	segments := strings.Split(s, "/")
	if len(segments) > MaxPathSegments {
		return fmt.Errorf("%w: it has %d segments; at most %d are allowed", ErrInvalidPath, len(segments), MaxPathSegments)
	}
	for i, segment := range segments {
		if err := checkSegment(segment); err != nil {
			return fmt.Errorf("%w: segment %d of %q %w", ErrInvalidPath, i+1, s, err)
		}
	}
	return nil
}

func checkSegment(s string) error {
	switch s {
	case "":
		return errors.New(`is empty; a path neither begins nor ends with "/" and has no "//"`)
	case ".", "..":
		return errors.New("is a relative step; write the whole path")
	}
	for i := range len(s) {
		if !isSegmentByte(s[i]) {
			return errors.New("has a character other than a-z, 0-9, '.', '_' and '-'")
		}
	}
	return nil
}

func isSegmentByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}
