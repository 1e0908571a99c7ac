package rotator

import (
	"fmt"
	"slices"
)

// Pair is two logins of a system that take turns.
type Pair []string

// Check wraps ErrSetup unless they are two, and different; field says in the error where they are given.
func (p Pair) Check(field string) error {
	if len(p) != 2 || p[0] == p[1] || slices.Contains(p, "") {
		return fmt.Errorf("%w: %s are two different names, such as app_a and app_b", ErrSetup, field)
	}
	return nil
}

// Other is the login that c is not of. It wraps ErrSetup when c is of neither.
func (p Pair) Other(c Credential) (string, error) {
	switch c.Username() {
	case p[0]:
		return p[1], nil
	case p[1]:
		return p[0], nil
	}
	return "", fmt.Errorf("%w: the secret's username is %q, which is neither of %s and %s, which take turns; store the login of one of them",
		ErrSetup, c.Username(), p[0], p[1])
}

// CheckBoth wraps ErrSetup unless c is of one login and of of the other.
func (p Pair) CheckBoth(c, of Credential) error {
	other, err := p.Other(c)
	if err == nil && of.Username() != other {
		err = fmt.Errorf("%w: the credentials are of %s and %q, and not of the two that take turns", ErrSetup, c.Username(), of.Username())
	}
	return err
}
