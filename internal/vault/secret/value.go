package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// MaxValueBytes is the largest value of one version: 1 MiB, the limit
// Kubernetes puts on the data of a Secret
// (k8s.io/api/core/v1.MaxSecretSize).
const MaxValueBytes = 1 << 20

const redacted = "[redacted]"

// ErrInvalidValue is wrapped by errors about values: too large, or without a
// property that was asked for. Such an error never holds any of the value.
var ErrInvalidValue = errors.New("invalid value")

// Value is the plaintext of one version. It prints as "[redacted]" through fmt,
// log/slog and encoding/json: only Bytes gives it out. Clear it after use.
//
// The bytes stand behind a function because fmt asks no method of a Value in an
// unexported field of another type: it prints what it finds there, through pointers
// too, but of a function only the address.
type Value struct{ bytes func() []byte }

// NewValue takes ownership of b. It fails on more than MaxValueBytes.
func NewValue(b []byte) (Value, error) {
	if len(b) > MaxValueBytes {
		return Value{}, fmt.Errorf("%w: it has %d bytes; at most %d are allowed", ErrInvalidValue, len(b), MaxValueBytes)
	}
	return Value{func() []byte { return b }}, nil
}

// Bytes returns the plaintext itself, not a copy; nil for the zero Value.
func (v Value) Bytes() []byte {
	if v.bytes == nil {
		return nil
	}
	return v.bytes()
}

// Len returns the size in bytes.
func (v Value) Len() int { return len(v.Bytes()) }

// Clear overwrites the plaintext with zeros.
func (v Value) Clear() { clear(v.Bytes()) }

// Format implements fmt.Formatter, so that no verb, not even %x or %#v, prints
// the value.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON writes "[redacted]".
func (Value) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }
