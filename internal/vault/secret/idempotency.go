package secret

import (
	"fmt"
	"time"
)

const (
	// MaxIdempotencyKeyBytes bounds PutRequest.IdempotencyKey; 255 is what others
	// allow (Stripe), and room for several UUIDs.
	MaxIdempotencyKeyBytes = 255
	// IdempotencyKeyLife is how long a key is remembered.
	IdempotencyKeyLife = 24 * time.Hour
)

// CheckIdempotencyKey refuses a key that is not 1 to MaxIdempotencyKeyBytes printable
// ASCII characters. The error does not repeat the key.
func CheckIdempotencyKey(key string) error {
	if key == "" || len(key) > MaxIdempotencyKeyBytes {
		return fmt.Errorf("%w: the idempotency key has %d bytes; give 1 to %d", ErrInvalid, len(key), MaxIdempotencyKeyBytes)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return fmt.Errorf("%w: the idempotency key has a character that is not printable ASCII; a UUID would do", ErrInvalid)
		}
	}
	return nil
}
