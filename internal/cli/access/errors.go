package access

import "fmt"

// Kind sorts what can go wrong.
type Kind int

// The kinds of error.
const (
	// Credentials: there is no kubeconfig, or it gives no token.
	Credentials Kind = iota
	// Unreachable: nothing of the installation answers now.
	Unreachable
)

// Error says what was asked and why it failed.
type Error struct {
	Kind    Kind
	Message string
	// Next is what a person does about it, often a command.
	Next  string
	cause error
}

// Error implements error.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.cause)
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }
