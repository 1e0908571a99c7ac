package issuers

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// What a file says of itself.
const (
	apiVersion = "vault.coffer.dev/v1alpha1"
	kind       = "AuthenticationConfiguration"
)

// maxIssuers is how many issuers a file may name, as in Kubernetes.
const maxIssuers = 64

// reservedPrefix begins the names of users and groups that mean something to Kubernetes.
const reservedPrefix = "system:"

// config is a file. Its fields are a part of those of Kubernetes'
// AuthenticationConfiguration (apiserver.config.k8s.io), and mean the same.
type config struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	JWT        []issuerConfig `json:"jwt"`
}

// issuerConfig is one issuer, and what its tokens must be like.
type issuerConfig struct {
	Issuer               endpoint       `json:"issuer"`
	ClaimValidationRules []requirement  `json:"claimValidationRules"`
	ClaimMappings        claimMappings  `json:"claimMappings"`
	roots                *x509.CertPool // of Issuer.CertificateAuthority; the system's when nil
}

type endpoint struct {
	// URL is the claim iss, to the letter, and where the issuer is discovered.
	URL string `json:"url"`
	// CertificateAuthority is PEM.
	CertificateAuthority string `json:"certificateAuthority"`
	// Audiences are those of which a token must have one.
	Audiences []string `json:"audiences"`
}

// requirement is that the claim is the string RequiredValue.
type requirement struct {
	Claim         string `json:"claim"`
	RequiredValue string `json:"requiredValue"`
}

type claimMappings struct {
	Username mapping  `json:"username"`
	Groups   *mapping `json:"groups"`
}

// mapping makes Prefix and the claim a name.
type mapping struct {
	Claim  string `json:"claim"`
	Prefix string `json:"prefix"`
}

// parse reads a file. Issuers without audiences get the given one. An error says where
// the file is wrong and what to write.
func parse(content []byte, audience string) (config, error) {
	var c config
	if err := yaml.UnmarshalStrict(content, &c); err != nil {
		return config{}, err
	}
	if c.APIVersion != apiVersion || c.Kind != kind {
		return config{}, fmt.Errorf("it is a %q of %q: write apiVersion: %s and kind: %s", c.Kind, c.APIVersion, apiVersion, kind)
	}
	if len(c.JWT) > maxIssuers {
		return config{}, fmt.Errorf("jwt: %d issuers are named; name at most %d", len(c.JWT), maxIssuers)
	}
	for i := range c.JWT {
		if err := c.JWT[i].complete(audience); err != nil {
			return config{}, fmt.Errorf("jwt[%d].%w", i, err)
		}
		if err := c.JWT[i].apart(c.JWT[:i]); err != nil {
			return config{}, fmt.Errorf("jwt[%d].%w", i, err)
		}
	}
	return c, nil
}

// complete checks c by itself and fills in what may be left out.
func (c *issuerConfig) complete(audience string) error {
	if err := checkURL(c.Issuer.URL); err != nil {
		return fmt.Errorf("issuer.url: %w", err)
	}
	if len(c.Issuer.Audiences) == 0 {
		c.Issuer.Audiences = []string{audience}
	}
	if slices.Contains(c.Issuer.Audiences, "") {
		return errors.New("issuer.audiences: one is empty; write what the tokens for Coffer have in their claim aud")
	}
	if c.Issuer.CertificateAuthority != "" {
		c.roots = x509.NewCertPool()
		if !c.roots.AppendCertsFromPEM([]byte(c.Issuer.CertificateAuthority)) {
			return errors.New("issuer.certificateAuthority: it holds no PEM certificate; leave it out for the system's authorities")
		}
	}
	for i, rule := range c.ClaimValidationRules {
		if rule.Claim == "" || rule.RequiredValue == "" {
			return fmt.Errorf("claimValidationRules[%d]: write a claim and its requiredValue", i)
		}
	}
	if err := c.ClaimMappings.Username.check("sub"); err != nil {
		return fmt.Errorf("claimMappings.username: %w", err)
	}
	if groups := c.ClaimMappings.Groups; groups != nil {
		if err := groups.check("groups"); err != nil {
			return fmt.Errorf("claimMappings.groups: %w", err)
		}
	}
	return nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return errors.New("it is missing; write the claim iss of the tokens, such as https://token.actions.githubusercontent.com")
	case err != nil:
		return errors.New("it cannot be read; write it like https://issuer.example.com")
	case u.Scheme != "https":
		return errors.New("it is not https: whoever is between could give keys of their own")
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("it is not a plain URL; write it like https://issuer.example.com")
	}
	return nil
}

// check wants a prefix that ends with a colon, so that of two prefixes neither begins the
// other, unless they are nested.
func (m mapping) check(usual string) error {
	switch {
	case m.Claim == "":
		return fmt.Errorf("claim: it is missing; write the name of a claim, such as %s", usual)
	case len(m.Prefix) < 2 || !strings.HasSuffix(m.Prefix, ":"):
		return fmt.Errorf("prefix: it is %q; write one that ends with a colon, such as \"ci:\", which keeps these names apart from those of Kubernetes", m.Prefix)
	case strings.HasPrefix(m.Prefix, reservedPrefix):
		return fmt.Errorf("prefix: names that begin with %s are those of Kubernetes; write another", reservedPrefix)
	}
	return nil
}

// apart checks that nobody of c can be taken for somebody of others.
func (c *issuerConfig) apart(others []issuerConfig) error {
	for i := range others {
		other := &others[i]
		if other.Issuer.URL == c.Issuer.URL {
			return fmt.Errorf("issuer.url: jwt[%d] is the same issuer; name it once", i)
		}
		if overlap(c.ClaimMappings.Username.Prefix, other.ClaimMappings.Username.Prefix) {
			return fmt.Errorf("claimMappings.username.prefix: users of jwt[%d] could have the same names; write another prefix", i)
		}
		if c.ClaimMappings.Groups != nil && other.ClaimMappings.Groups != nil && overlap(c.ClaimMappings.Groups.Prefix, other.ClaimMappings.Groups.Prefix) {
			return fmt.Errorf("claimMappings.groups.prefix: groups of jwt[%d] could have the same names; write another prefix", i)
		}
	}
	return nil
}

func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }
