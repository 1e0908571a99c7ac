package generate

import (
	"fmt"

	"github.com/google/uuid"
)

// UUID is a random UUID, version 4 of RFC 9562, with 122 random bits.
type UUID struct{}

// Check is nil: there is nothing to say about a UUID.
func (UUID) Check() error { return nil }

func (UUID) generate(Input) (map[string]string, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("make a UUID: %w", err)
	}
	return map[string]string{UUIDProperty: id.String()}, nil
}
