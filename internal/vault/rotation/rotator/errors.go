package rotator

import (
	"context"
	"errors"
	"fmt"
)

// What went wrong. Every error of a rotator wraps one of these.
var (
	// ErrUnreachable says that the system did not answer, or was busy: to try again may help, and nothing else will.
	ErrUnreachable = errors.New("the system cannot be reached")
	// ErrRights says that the administrator's credential is refused or may not do it.
	ErrRights = errors.New("the rotator's own credential does not suffice")
	// ErrRefused says that the system does not accept the credential that is rotated.
	ErrRefused = errors.New("the system refuses the credential")
	// ErrSetup says that the rotator's settings, the credential or the system is not prepared for it; the text says
	// what to do.
	ErrSetup = errors.New("the rotation is not prepared")
)

// Unreachable is ErrUnreachable about doing something, with the end of ctx if that is why. It drops the text of err.
func Unreachable(doing string, err error) error {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return fmt.Errorf("%w: %s: %w", ErrUnreachable, doing, end)
		}
	}
	return fmt.Errorf("%w: %s", ErrUnreachable, doing)
}
