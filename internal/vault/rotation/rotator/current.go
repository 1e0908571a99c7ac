package rotator

import (
	"errors"
	"fmt"
)

// CheckCurrent says, wrapping ErrSetup, why no rotation of a login may start from c, which a secret holds: parts of it are missing, or
// its URL has another login. Nobody could go back to such a one, or retire it.
func (c Credential) CheckCurrent() error {
	if err := c.CheckLogin("the secret"); err != nil {
		return err
	}
	if c[URLPart] == "" {
		return nil
	}
	address, err := c.address()
	if err != nil {
		return err
	}
	// What the URL leaves out is no login.
	name := address.User.Username()
	password, _ := address.User.Password()
	if name != "" && name != c.Username() || password != "" && password != c.Password() {
		return fmt.Errorf("%w: the property %s of the secret has a login other than %s and %s, which nobody would retire; store the same in all of them",
			ErrSetup, URLPart, UsernamePart, PasswordPart)
	}
	return nil
}

// Tried is err, of trying the login from which a rotation is to start, with what it means when the system refuses it.
func Tried(err error) error {
	if !errors.Is(err, ErrRefused) {
		return err
	}
	return fmt.Errorf("%w; a rotation could neither go back to the login in the secret nor retire it: store the login that works, and rotate then", err)
}
