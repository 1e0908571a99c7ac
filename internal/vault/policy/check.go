package policy

import (
	"errors"
	"fmt"
	"slices"
)

// check reports the first mistake in r, in words that follow "rule N: ".
func (r Rule) check() error {
	if r.Effect != Allow && r.Effect != Deny {
		return fmt.Errorf("its effect is %q; write Allow or Deny", r.Effect)
	}
	if len(r.Paths) == 0 {
		return errors.New("it has no paths; write ** for all")
	}
	if slices.Contains(r.Paths, Pattern{}) {
		return errors.New("it has an empty path; write ** for all")
	}
	if len(r.Capabilities) == 0 {
		return errors.New("it has no capabilities")
	}
	for _, c := range r.Capabilities {
		if _, err := ParseCapability(string(c)); err != nil {
			return err
		}
	}
	if slices.Contains(r.Environments, "") {
		return errors.New("it has an environment without a name; leave environments out for any")
	}
	return r.Subjects.check()
}

func (s Subjects) check() error {
	if len(s.ServiceAccounts) == 0 && len(s.Users) == 0 && len(s.Groups) == 0 {
		return errors.New("it has no subjects; name a service account, user or group")
	}
	for _, account := range s.ServiceAccounts {
		if account.Namespace == "" || account.Name == "" {
			return errors.New("it has a service account without namespace or name; write * for any")
		}
		if account.UID != "" && (account.Namespace == anyName || account.Name == anyName) {
			return errors.New("it has a service account with a uid and a *; a uid is of one account: write its namespace and name")
		}
	}
	if slices.Contains(s.Users, "") || slices.Contains(s.Groups, "") {
		return errors.New("it has a user or group without a name")
	}
	return nil
}
