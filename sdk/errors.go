package sdk

import (
	"errors"
	"fmt"
	"strings"
)

// Code says what kind of error the server answered. Codes are stable.
type Code string

// The codes.
const (
	// CodeNotFoundOrDenied: the path does not exist, or the caller may not do this;
	// the two are not told apart.
	CodeNotFoundOrDenied Code = "not_found_or_denied"
	// CodeVersionNotFound: the caller may read the path, which has no such version.
	CodeVersionNotFound Code = "version_not_found"
	// CodeConflict: the current version is not the expected one.
	CodeConflict Code = "conflict"
	// CodeKeyState: a change of the keyring is not possible as things are; Detail says
	// what to do first.
	CodeKeyState Code = "key_state"
	// CodePositionLost: the server keeps changes no longer that came after the position
	// from which a watch was to go on. Read everything again, and watch from now on.
	CodePositionLost Code = "position_lost"
	// CodeInvalid: the request cannot succeed as it is.
	CodeInvalid Code = "invalid"
	// CodeTooLarge: the value is larger than a version can be.
	CodeTooLarge Code = "too_large"
	// CodeUnauthenticated: the token is missing, expired or for another audience.
	CodeUnauthenticated Code = "unauthenticated"
	// CodeRateLimited: the caller asks too often.
	CodeRateLimited Code = "rate_limited"
	// CodeUnavailable: the server, or the database behind it, cannot be reached now. A
	// write may have taken effect all the same.
	CodeUnavailable Code = "unavailable"
	// CodeIntegrityFailed: what is stored is not what Coffer wrote.
	CodeIntegrityFailed Code = "integrity_failed"
	// CodeInternal: a fault of the server.
	CodeInternal Code = "internal"
)

// Error is an answer of the server other than success, or, with status 0, that
// there was no answer. It never holds a value.
type Error struct {
	Code Code
	// Status is the HTTP status; 0 when the server did not answer.
	Status int
	// Detail says what was asked, why it failed and what to do.
	Detail string
	// Fields names what is wrong with the request, when the server says so.
	Fields []FieldProblem
	// RequestID finds the request in the server's log and in the audit log.
	RequestID string

	cause error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Detail)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s: %s", f.Location, f.Message)
	}
	return b.String()
}

// Unwrap returns why the server did not answer, when it did not.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf returns the code of the [*Error] that err wraps, or "" when there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
