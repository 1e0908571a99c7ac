package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/authn"
)

// errPanicked stands for a panic; its answer is that of any fault of ours.
var errPanicked = errors.New("panicked")

type middleware = func(huma.Context, func(huma.Context))

// authenticate lets only requests with a good token through, and notes whose it is.
func (a *api) authenticate(h huma.API) middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		e := exchangeOf(ctx.Context())
		token := bearer(ctx.Header("Authorization"))
		refusals := a.refusals.of(hostOf(ctx.RemoteAddr()))
		// Many callers may come from one address, through a gateway or a port-forward: one that
		// sends garbage must not shut the others out.
		if refusals.Tokens() < 1 && !a.authenticator.Known(token) {
			a.holder.wait(ctx.Context())
			refuseForNow(h, ctx, a.refusals.rate, "too many invalid tokens came from this address; wait and try again")
			return
		}
		caller, err := a.authenticator.Authenticate(ctx.Context(), token)
		switch {
		case isUnauthenticated(err):
			refusals.Allow()
			ctx.SetHeader("WWW-Authenticate", "Bearer")
			_ = huma.WriteErr(h, ctx, http.StatusUnauthorized, authn.ErrUnauthenticated.Error()+
				"; get a token for Coffer's audience: kubectl create token ACCOUNT --namespace NAMESPACE --audience coffer")
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
