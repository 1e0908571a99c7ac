package method

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// generated makes a value that no system has to be told of: those who read it are all there is.
type generated struct {
	generate.Spec
	// Property is where a password or a UUID goes; "password" or "uuid" when empty.
	Property string `json:"property,omitempty"`
	// Authority is the path of the secret whose properties "certificate" and "privateKey" sign a certificate.
	Authority string `json:"authority,omitempty"`

	authority *generate.Authority
}

func (g *generated) own() (secret.Path, error) {
	if g.Authority == "" {
		return secret.Path{}, nil
	}
	if g.Certificate == nil {
		return secret.Path{}, fmt.Errorf("%w: an authority signs certificates, and none is generated; leave it out", rotator.ErrSetup)
	}
	path, err := secret.ParsePath(g.Authority)
	if err != nil {
		return path, fmt.Errorf("%w: authority names the secret that signs: %w", rotator.ErrSetup, err)
	}
	return path, nil
}

func (g *generated) check(webhook.Limits) error {
	if g.Property != "" && g.Password == nil && g.UUID == nil {
		return fmt.Errorf("%w: property is for a password or a UUID; the others make several", rotator.ErrSetup)
	}
	return g.Check()
}

func (g *generated) open(own rotator.Credential, _ webhook.Limits) (rotator.Rotator, error) {
	if own != nil {
		g.authority = &generate.Authority{Certificate: own[generate.CertificateProperty], Key: own[generate.PrivateKeyProperty]}
		if err := generate.CheckAuthority(*g.authority); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Create makes the value, and keeps what else the secret holds. A secret that is one value and no properties stays so
// when one is made.
func (g *generated) Create(_ context.Context, current rotator.Credential) (rotator.Credential, error) {
	parts, err := g.Generate(generate.Input{Now: time.Now(), Authority: g.authority})
	if err != nil {
		return nil, err
	}
	next := rotator.Credential{}
	maps.Copy(next, current)
	_, raw := current[secret.RawKey]
	for name, value := range parts {
		switch {
		case len(parts) == 1 && g.Property != "":
			name = g.Property
		case len(parts) == 1 && raw && len(current) == 1:
			name = secret.RawKey
		}
		next[name] = value
	}
	return next, nil
}

// Set has nobody to tell, and so have the others.
func (*generated) Set(context.Context, rotator.Credential, rotator.Credential) error { return nil }

// Test does nothing.
func (*generated) Test(context.Context, rotator.Credential) error { return nil }

// Finish does nothing.
func (*generated) Finish(context.Context, rotator.Credential, rotator.Credential) error { return nil }

// Revoke does nothing.
func (*generated) Revoke(context.Context, rotator.Credential, rotator.Credential) error { return nil }

// RenewAt is renewBefore before the end of a certificate; other values have none.
func (g *generated) RenewAt(current rotator.Credential) (at time.Time, ends bool, err error) {
	if g.Certificate == nil {
		return time.Time{}, false, nil
	}
	at, err = g.Certificate.RenewAt(current[generate.CertificateProperty])
	return at, err == nil, err
}
