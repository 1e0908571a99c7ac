package rotator

import "time"

// Renewer is a Rotator whose credentials may end by themselves, such as certificates.
type Renewer interface {
	// RenewAt is when to rotate current, which is before its end, whatever the schedule says; ends is false for a
	// credential without an end. It wraps ErrSetup or generate.ErrSpec when current cannot be read.
	RenewAt(current Credential) (at time.Time, ends bool, err error)
}
