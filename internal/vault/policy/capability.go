package policy

import (
	"fmt"
	"slices"
)

// Capability is something that a caller can do on a path.
type Capability string

// The capabilities. None includes another.
const (
	// Read gives the value of any version.
	Read Capability = "read"
	// List shows the path and its metadata, never a value.
	List Capability = "list"
	// Write makes new versions and changes description, tags and reminder.
	Write Capability = "write"
	// Rotate makes a new version of a path that exists.
	Rotate Capability = "rotate"
	// Delete deletes the path.
	Delete Capability = "delete"
	// Share changes the access policy on the secret.
	Share Capability = "share"
	// Audit reads the audit log of the path and explains decisions about others.
	Audit Capability = "audit"
)

// Capabilities returns all of them in the order in which people read them.
func Capabilities() []Capability {
	return []Capability{Read, List, Write, Rotate, Delete, Share, Audit}
}

// ParseCapability reads the name of a capability.
func ParseCapability(s string) (Capability, error) {
	c := Capability(s)
	if !slices.Contains(Capabilities(), c) {
		return "", fmt.Errorf("there is no capability %q; there are %v", s, Capabilities())
	}
	return c, nil
}
