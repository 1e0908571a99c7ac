package issuers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"k8s.io/utils/clock"
)

// The errors of Verify.
var (
	// ErrRefused: the token is not one that the file believes.
	ErrRefused = errors.New("the issuer's token is refused")
	// ErrUnavailable: the issuer's keys are not known, and it does not answer.
	ErrUnavailable = errors.New("the issuer of the token does not answer")
)

// clockSkew is by how much the issuer's clock may be ahead of ours. A token that is over
// is over: those who use one get another in time.
const clockSkew = 10 * time.Second

// algorithms are those of signatures by a private key. With any other one, whoever knows
// the public key could sign, or nobody would have to.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Identity is who a token says that its bearer is.
type Identity struct {
	// Name and Groups have the prefixes of the issuer. Groups are sorted.
	Name   string
	Groups []string
	// Subject is the claim sub as it is; it may be empty.
	Subject string
	// Expiry is when the token is over.
	Expiry time.Time
}

// Issuer verifies the tokens of one issuer. It is safe for concurrent use.
type Issuer struct {
	config issuerConfig
	keys   *keys
	clock  clock.PassiveClock
	logger *slog.Logger
}

func newIssuer(c issuerConfig, now clock.PassiveClock, logger *slog.Logger, m metrics) *Issuer {
	client, url := newClient(c.roots), c.Issuer.URL
	return &Issuer{config: c, clock: now, logger: logger, keys: &keys{clock: now, fetch: func(ctx context.Context) ([]jose.JSONWebKey, error) {
		found, err := fetchKeys(ctx, client, url)
		m.fetched(url, err)
		return found, err
	}}}
}

// URL is that of the issuer, as the file has it.
func (i *Issuer) URL() string { return i.config.Issuer.URL }

// Verify returns whose token it is.
//
// Errors: ErrRefused; ErrUnavailable, with its cause; the error of ctx. None holds the
// token. Why one is refused is in the log, at the level debug: it is of use to who sets an
// issuer up, and to nobody who has a token that is no good.
func (i *Issuer) Verify(ctx context.Context, token string) (Identity, error) {
	identity, err := i.verify(ctx, token)
	switch {
	case err == nil:
		return identity, nil
	case errors.Is(err, ErrUnavailable):
		return Identity{}, fmt.Errorf("%s: %w", i.config.Issuer.URL, err)
	case ctx.Err() != nil:
		return Identity{}, ctx.Err()
	}
	i.logger.DebugContext(ctx, "a token of an issuer is refused", "issuer", i.config.Issuer.URL, "reason", err.Error())
	return Identity{}, ErrRefused
}

// signatures is the oidc.KeySet of one verification. It keeps its error, of which
// package oidc passes on the text only.
type signatures struct {
	keys *keys
	err  error
}

// VerifySignature implements oidc.KeySet.
func (s *signatures) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	payload, s.err = s.keys.verify(ctx, token)
	return payload, s.err
}

func (i *Issuer) verify(ctx context.Context, token string) (Identity, error) {
	by := &signatures{keys: i.keys}
	verifier := oidc.NewVerifier(i.config.Issuer.URL, by, &oidc.Config{
		SupportedSigningAlgs: algorithmNames(), SkipClientIDCheck: true, Now: i.clock.Now, // the audience is checked below: there may be several
	})
	verified, err := verifier.Verify(ctx, token)
	if by.err != nil {
		return Identity{}, by.err
	}
	if err != nil {
		return Identity{}, err
	}
	if !slices.ContainsFunc(verified.Audience, func(a string) bool { return slices.Contains(i.config.Issuer.Audiences, a) }) {
		return Identity{}, errors.New("it is for none of issuer.audiences")
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return Identity{}, err
	}
	if err := i.begun(verified); err != nil {
		return Identity{}, err
	}
	identity, err := i.config.identityOf(claims)
	identity.Subject, identity.Expiry = verified.Subject, verified.Expiry
	return identity, err
}

// begun checks that the token's time has come. Package oidc allows the issuer's clock to
// be five minutes ahead.
func (i *Issuer) begun(token *oidc.IDToken) error {
	var claims struct {
		NotBefore float64 `json:"nbf"` // seconds, RFC 7519
	}
	if err := token.Claims(&claims); err != nil {
		return fmt.Errorf("read the claim nbf: %w", err)
	}
	latest := float64(i.clock.Now().Add(clockSkew).Unix())
	if claims.NotBefore > latest {
		return errors.New("its time, the claim nbf, has not come")
	}
	return nil
}

func algorithmNames() []string {
	names := make([]string, len(algorithms))
	for i, algorithm := range algorithms {
		names[i] = string(algorithm)
	}
	return names
}
