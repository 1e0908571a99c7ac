package rotator

import (
	"fmt"
	"maps"
	"net/url"
)

// The parts of a Credential that log in.
const (
	UsernamePart = "username"
	PasswordPart = "password"
	// URLPart is an address with user and password in it, which follows the other two.
	URLPart = "url"
)

// Username is the part "username".
func (c Credential) Username() string { return c[UsernamePart] }

// Password is the part "password".
func (c Credential) Password() string { return c[PasswordPart] }

// CheckLogin says, wrapping ErrSetup, which part of a login is missing; whose says in the error which credential it is. It does not look
// into the URL.
func (c Credential) CheckLogin(whose string) error {
	for _, part := range []string{UsernamePart, PasswordPart} {
		if c[part] == "" {
			return fmt.Errorf("%w: %s has no property %q; store the login that works as the properties %s and %s, also where another one, such as a url, has it too",
				ErrSetup, whose, part, UsernamePart, PasswordPart)
		}
	}
	return nil
}

// WithLogin is c with another login: its username, its password, and both in its URL when it has one. It keeps every
// other part, and c itself.
func (c Credential) WithLogin(username, password string) (Credential, error) {
	next := maps.Clone(c)
	if next == nil {
		next = Credential{}
	}
	next[UsernamePart], next[PasswordPart] = username, password
	if c[URLPart] == "" {
		return next, nil
	}
	address, err := c.address()
	if err != nil {
		return nil, err
	}
	address.User = url.UserPassword(username, password)
	next[URLPart] = address.String()
	return next, nil
}

// address is the part "url", which is there.
func (c Credential) address() (*url.URL, error) {
	address, err := url.Parse(c[URLPart])
	if err != nil || address.User == nil {
		return nil, fmt.Errorf("%w: the part %q is no URL with a user and a password, which would be changed with them; correct it or take it out of the secret", ErrSetup, URLPart)
	}
	return address, nil
}
