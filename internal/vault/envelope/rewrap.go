package envelope

import (
	"context"
	"fmt"
)

// Rewrap wraps the data key of a sealed version anew, under the key-encryption key
// that w uses now, for the same binding. The box stays as it is and is not needed.
// Errors are those of Open.
func Rewrap(ctx context.Context, w KeyWrapper, b Binding, wrapped []byte) ([]byte, error) {
	aad, err := b.associatedData(purposeKey)
	if err != nil {
		return nil, errTampered
	}
	dek, err := unwrap(ctx, w, wrapped, aad)
	if err != nil {
		return nil, err
	}
	defer clear(dek)
	rewrapped, err := w.Wrap(ctx, dek, aad)
	if err != nil {
		return nil, fmt.Errorf("wrap the data key: %w", err)
	}
	return rewrapped, nil
}

// unwrap is w.Unwrap with the errors of Open.
func unwrap(ctx context.Context, w KeyWrapper, wrapped, aad []byte) ([]byte, error) {
	dek, err := w.Unwrap(ctx, wrapped, aad)
	switch {
	case err == nil:
		return dek, nil
	case isUnavailable(err):
		return nil, fmt.Errorf("unwrap the data key: %w", err)
	default:
		return nil, errTampered
	}
}
