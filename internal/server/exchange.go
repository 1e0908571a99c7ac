package server

import (
	"context"
	"crypto/rand"
	"regexp"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// requestIDHeader carries the id by which a request is found in the logs.
const requestIDHeader = "X-Request-Id"

// acceptableID is what a client's own request id may look like: it goes into log and
// audit as it is.
var acceptableID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// exchange is what the layers of one request tell each other.
type exchange struct {
	requestID string
	// caller is set once the token was checked, and so is token.
	caller secret.Caller
	token  string
	// endTurn lets others of the caller have the turn before the answer is written.
	endTurn func()
	// endless answers last as long as the client wants: how long says nothing.
	endless bool
	// after runs when the answer is written.
	after []func()
}

type exchangeKey struct{}

func withExchange(ctx context.Context, e *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, e)
}

// exchangeOf returns the exchange of a request; observe made one for each.
func exchangeOf(ctx context.Context) *exchange {
	e, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return &exchange{}
	}
	return e
}

type clientKey struct{}

// withDeadline bounds the work on a request.
func withDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithValue(ctx, clientKey{}, ctx), d)
}

// clientOf is ctx without that bound: it ends when the client is gone.
func clientOf(ctx context.Context) context.Context {
	if client, ok := ctx.Value(clientKey{}).(context.Context); ok {
		return client
	}
	return ctx
}

func callerOf(ctx context.Context) secret.Caller { return exchangeOf(ctx).caller }

func requestID(given string) string {
	if acceptableID.MatchString(given) {
		return given
	}
	return rand.Text()
}
