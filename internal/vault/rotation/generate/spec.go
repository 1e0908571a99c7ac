package generate

import (
	"errors"
	"fmt"
	"time"
)

// ErrSpec is wrapped by every error about a Spec; its text says what to change.
var ErrSpec = errors.New("cannot generate that")

// Names of the properties that Generate makes.
const (
	PasswordProperty    = "password"
	UUIDProperty        = "uuid"
	PrivateKeyProperty  = "privateKey"
	PublicKeyProperty   = "publicKey"
	CertificateProperty = "certificate"
	CAProperty          = "ca"
)

// Spec says what to make: exactly one of its parts is set.
type Spec struct {
	Password    *Password    `json:"password,omitempty"`
	UUID        *UUID        `json:"uuid,omitempty"`
	SSHKey      *SSHKey      `json:"sshKey,omitempty"`
	KeyPair     *KeyPair     `json:"keyPair,omitempty"`
	Certificate *Certificate `json:"certificate,omitempty"`
}

// Input is what the outside gives to Generate.
type Input struct {
	// Now is when a certificate begins.
	Now time.Time
	// Authority signs a certificate; nil for one that signs itself.
	Authority *Authority
}

// generator is a part of a Spec.
type generator interface {
	// Check says what is wrong with it, wrapping ErrSpec.
	Check() error
	generate(Input) (map[string]string, error)
}

// Check is nil for a spec that Generate can follow. Its errors wrap ErrSpec.
func (s Spec) Check() error {
	part, err := s.part()
	if err != nil {
		return err
	}
	return part.Check()
}

// Generate makes a new value as named properties. Its errors wrap ErrSpec when the spec or the authority is to blame;
// none holds a value.
func (s Spec) Generate(in Input) (map[string]string, error) {
	part, err := s.part()
	if err != nil {
		return nil, err
	}
	if err := part.Check(); err != nil {
		return nil, err
	}
	return part.generate(in)
}

func (s Spec) part() (generator, error) {
	var parts []generator
	if s.Password != nil {
		parts = append(parts, s.Password)
	}
	if s.UUID != nil {
		parts = append(parts, s.UUID)
	}
	if s.SSHKey != nil {
		parts = append(parts, s.SSHKey)
	}
	if s.KeyPair != nil {
		parts = append(parts, s.KeyPair)
	}
	if s.Certificate != nil {
		parts = append(parts, s.Certificate)
	}
	if len(parts) != 1 {
		return nil, fmt.Errorf("%w: the generator names %d things to make; name one of password, uuid, sshKey, keyPair and certificate", ErrSpec, len(parts))
	}
	return parts[0], nil
}
