package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// errPanicked stands for a panic; its answer is that of any fault of ours.
var errPanicked = errors.New("panicked")

type middleware = func(huma.Context, func(huma.Context))

// authenticate lets only requests with a good token through, and notes whose it is.
func (a *api) authenticate(h huma.API) middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		e := exchangeOf(ctx.Context())
		token := bearer(ctx.Header("Authorization"))
		caller, err := a.check(ctx.Context(), hostOf(ctx.RemoteAddr()), token)
		switch {
		case errors.Is(err, errTooManyRefused):
			a.holder.wait(ctx.Context())
			refuseForNow(h, ctx, refusalRate, "too many invalid tokens came from this address; wait and try again")
			return
		case isUnauthenticated(err):
			ctx.SetHeader("WWW-Authenticate", "Bearer")
			_ = huma.WriteErr(h, ctx, http.StatusUnauthorized, authn.ErrUnauthenticated.Error()+
				"; get a token for Coffer's audience: kubectl create token ACCOUNT --namespace NAMESPACE --audience coffer; or take one of an issuer that the administrator named")
			return
		case err != nil:
			if !errors.Is(err, context.Canceled) {
				a.logger.ErrorContext(ctx.Context(), "a token could not be checked", "error", err, "requestID", e.requestID)
			}
			ctx.SetHeader("Retry-After", "1")
			_ = huma.WriteErr(h, ctx, http.StatusServiceUnavailable, "the token cannot be checked now; try again")
			return
		}
		caller.RequestID = e.requestID
		caller.Address = hostOf(ctx.RemoteAddr())
		e.caller, e.token = caller, token
		next(ctx)
	}
}

// check returns whose token it is. Many callers may come from one address, through a
// gateway or a port-forward: one that sends garbage must not shut out those whose tokens
// were good.
//
// Errors: errTooManyRefused, and those of Authenticate.
func (a *api) check(ctx context.Context, address, token string) (caller secret.Caller, err error) {
	checks := a.checks.of(address)
	if a.authenticator.Known(token) {
		if caller, err = a.authenticator.Authenticate(ctx, token); isUnauthenticated(err) {
			checks.refusals.Allow()
		}
		return caller, err
	}
	if err := checks.begin(ctx); err != nil {
		return secret.Caller{}, err
	}
	refused := true // a panic counts as one
	defer func() { checks.end(refused) }()
	caller, err = a.authenticator.Authenticate(ctx, token)
	// Who hangs up does not end the check of its token, and counts as refused: nobody else
	// will hear the answer.
	refused = isUnauthenticated(err) || ctx.Err() != nil && !a.authenticator.Known(token)
	return caller, err
}

func isUnauthenticated(err error) bool { return errors.Is(err, authn.ErrUnauthenticated) }

// bearer returns the token of an Authorization header, or "".
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// addressOf is the peer of the connection. Headers that claim another are not
// believed: anyone can send them.
func addressOf(r *http.Request) string { return hostOf(r.RemoteAddr) }

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
