package generate

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of a password's length, in characters. 8 is the least that NIST SP 800-63B lets a system ask for; 256 is more
// than any system is known to take.
const (
	MinPasswordLength     = 8
	MaxPasswordLength     = 256
	DefaultPasswordLength = 32
)

// ClassName names a class of characters.
type ClassName string

// The classes that have a name. Symbols are those of printable ASCII.
const (
	Lower   ClassName = "lower"
	Upper   ClassName = "upper"
	Digits  ClassName = "digits"
	Symbols ClassName = "symbols"
)

var named = map[ClassName]string{
	Lower:   "abcdefghijklmnopqrstuvwxyz",
	Upper:   "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	Digits:  "0123456789",
	Symbols: "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
}

// Password says what a password is like. Of all passwords that are like it, each is made with the same probability.
type Password struct {
	// Length in characters, from MinPasswordLength to MaxPasswordLength; 0 means DefaultPasswordLength.
	Length int `json:"length,omitempty"`
	// Classes the characters are from; none means lower, upper and digits, at least one of each.
	Classes []Class `json:"classes,omitempty"`
	// Exclude holds the characters that no class has.
	Exclude string `json:"exclude,omitempty"`
}

// Class is a set of characters: a named one, or those listed.
type Class struct {
	Name ClassName `json:"name,omitempty"`
	// Characters of printable ASCII, when Name is empty.
	Characters string `json:"characters,omitempty"`
	// Minimum is how many of them a password has at least.
	Minimum int `json:"minimum,omitempty"`
}

// class is a Class that was checked: its characters, without those excluded.
type class struct {
	characters []byte
	minimum    int
}

// Check says whether there is a password of this kind.
func (p Password) Check() error {
	_, err := p.resolve()
	return err
}

func (p Password) generate(Input) (map[string]string, error) {
	classes, err := p.resolve()
	if err != nil {
		return nil, err
	}
	text, err := draw(p.length(), classes)
	if err != nil {
		return nil, err
	}
	return map[string]string{PasswordProperty: text}, nil
}

func (p Password) length() int {
	if p.Length == 0 {
		return DefaultPasswordLength
	}
	return p.Length
}

func (p Password) classes() []Class {
	if len(p.Classes) == 0 {
		return []Class{{Name: Lower, Minimum: 1}, {Name: Upper, Minimum: 1}, {Name: Digits, Minimum: 1}}
	}
	return p.Classes
}

// resolve checks everything, and takes what is excluded out of the classes.
func (p Password) resolve() ([]class, error) {
	length := p.length()
	if length < MinPasswordLength || length > MaxPasswordLength {
		return nil, fmt.Errorf("%w: a password of %d characters; give a length of %d to %d", ErrSpec, length, MinPasswordLength, MaxPasswordLength)
	}
	var classes []class
	var seen []byte
	needed := 0
	for i, c := range p.classes() {
		resolved, err := c.resolve(i, p.Exclude)
		if err != nil {
			return nil, err
		}
		for _, b := range resolved.characters {
			if slices.Contains(seen, b) {
				return nil, fmt.Errorf("%w: the character %q is in two classes; leave it in one", ErrSpec, b)
			}
		}
		seen = append(seen, resolved.characters...)
		needed += resolved.minimum
		classes = append(classes, resolved)
	}
	if needed > length {
		return nil, fmt.Errorf("%w: the classes ask for %d characters at least, and the length is %d; make it longer or lower a minimum", ErrSpec, needed, length)
	}
	if len(seen) < 2 {
		return nil, fmt.Errorf("%w: the classes leave %d characters, so there is one password at most; exclude less or add a class", ErrSpec, len(seen))
	}
	return classes, nil
}

func (c Class) resolve(at int, exclude string) (class, error) {
	characters := c.Characters
	switch {
	case (c.Name == "") == (characters == ""):
		return class{}, fmt.Errorf("%w: class %d of the password needs either a name or characters", ErrSpec, at)
	case c.Name != "":
		var known bool
		if characters, known = named[c.Name]; !known {
			return class{}, fmt.Errorf("%w: no class is named %q; there are lower, upper, digits and symbols", ErrSpec, c.Name)
		}
	}
	if c.Minimum < 0 || c.Minimum > MaxPasswordLength {
		return class{}, fmt.Errorf("%w: class %d of the password has the minimum %d; give one of 0 to %d", ErrSpec, at, c.Minimum, MaxPasswordLength)
	}
	resolved := class{minimum: c.Minimum}
	for _, r := range characters {
		if r < '!' || r > '~' {
			return class{}, fmt.Errorf("%w: class %d of the password has %q, which is no visible ASCII character; many systems change others", ErrSpec, at, r)
		}
		if !strings.ContainsRune(exclude, r) && !slices.Contains(resolved.characters, byte(r)) {
			resolved.characters = append(resolved.characters, byte(r))
		}
	}
	if len(resolved.characters) == 0 && c.Minimum > 0 {
		return class{}, fmt.Errorf("%w: everything in class %d of the password is excluded, and it asks for %d characters; exclude less or set its minimum to 0", ErrSpec, at, c.Minimum)
	}
	return resolved, nil
}
