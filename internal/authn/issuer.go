package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// kubernetesPrefix begins the names that Kubernetes gives to its own users and groups.
const kubernetesPrefix = "system:"

// ofIssuer has a token of the issuer verified, and says for how long that is believed: not
// beyond the token's own time.
//
// Errors are those of Authenticate.
func (a *Authenticator) ofIssuer(ctx context.Context, issuer *issuers.Issuer, token string) (_ secret.Caller, believed time.Duration, _ error) {
	identity, err := issuer.Verify(ctx, token)
	switch {
	case errors.Is(err, issuers.ErrRefused):
		return secret.Caller{}, 0, ErrUnauthenticated
	case err != nil:
		return secret.Caller{}, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	caller, err := callerOfIssuer(a.cluster, identity)
	return caller, min(acceptedFor, identity.Expiry.Sub(a.clock.Now())), err
}

// callerOfIssuer makes a user of an identity. It refuses names that cannot stand in the
// audit log, and those of Kubernetes, which the prefixes of issuers keep away already.
func callerOfIssuer(cluster string, identity issuers.Identity) (secret.Caller, error) {
	isKubernetes := func(name string) bool { return strings.HasPrefix(name, kubernetesPrefix) }
	if identity.Name == "" || isKubernetes(identity.Name) || slices.ContainsFunc(identity.Groups, isKubernetes) {
		return secret.Caller{}, ErrUnauthenticated
	}
	if !recordable(identity.Name) || !recordable(identity.Subject) {
		return secret.Caller{}, ErrUnauthenticated
	}
	return secret.Caller{
		Kind: secret.KindUser, Cluster: cluster, Name: identity.Name, UID: identity.Subject, Groups: identity.Groups,
	}, nil
}
