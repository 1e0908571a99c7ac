package webhook

import (
	"fmt"
	"net/url"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// SigningKeyPart is the part of the rotator's own credential that holds the key of the signatures: "whsec_" and 24 to 64
// bytes in base64, as Standard Webhooks has it.
const SigningKeyPart = "signingKey"

// Config says where the service is. The owner of a rotation writes it.
type Config struct {
	// URL of the service, of the scheme https.
	URL string `json:"url"`
	TLS TLS    `json:"tls,omitzero"`
	// NoOverlap says that set ends the old credential at once.
	NoOverlap bool `json:"noOverlap,omitempty"`
}

// TLS is how the service's certificate is checked.
type TLS struct {
	// CA holds the authorities to believe in place of the machine's, in PEM.
	CA string `json:"ca,omitempty"`
}

// Check says what is wrong with c under limits. Its errors wrap rotator.ErrSetup.
func (c Config) Check(limits Limits) error {
	_, err := c.parse(limits)
	return err
}

func (c Config) parse(limits Limits) (*url.URL, error) {
	address, err := url.Parse(c.URL)
	if err != nil || address.Hostname() == "" || address.Scheme != "https" && address.Scheme != "http" {
		return nil, fmt.Errorf("%w: the webhook's url is no address such as https://rotator.example.org/coffer", rotator.ErrSetup)
	}
	if address.User != nil || address.Fragment != "" {
		return nil, fmt.Errorf("%w: the webhook's url has a user or a fragment; requests are signed, so leave them out", rotator.ErrSetup)
	}
	if address.Scheme == "http" && !limits.AllowHTTP {
		return nil, fmt.Errorf("%w: the webhook's url is of http, and credentials would go in the clear; use https", rotator.ErrSetup)
	}
	if _, err := (rotator.TLS{CA: c.TLS.CA}).Config(address.Hostname()); err != nil {
		return nil, err
	}
	return address, nil
}

// New returns the rotator of c, which signs with the part SigningKeyPart of own. Its errors wrap rotator.ErrSetup.
func New(c Config, own rotator.Credential, limits Limits) (rotator.Rotator, error) {
	address, err := c.parse(limits)
	if err != nil {
		return nil, err
	}
	signer, err := NewSigner(own[SigningKeyPart])
	if err != nil {
		return nil, fmt.Errorf("%w: the part %q of the webhook's own credential is no key such as whsec_ and 24 to 64 random bytes in base64", rotator.ErrSetup, SigningKeyPart)
	}
	secured, err := rotator.TLS{CA: c.TLS.CA}.Config(address.Hostname())
	if err != nil {
		return nil, err
	}
	return &hook{config: c, url: address, signer: signer, client: limits.Client(address.Hostname(), secured)}, nil
}
