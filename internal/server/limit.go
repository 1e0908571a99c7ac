package server

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/cache"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Limits of what is remembered about callers. A bucket that was not used for
// limiterIdle is full again, so forgetting it changes nothing.
const (
	maxLimiters = 8192
	limiterIdle = 10 * time.Minute
)

// limiters holds what bounds each caller, or each address.
type limiters[T any] struct {
	fresh func() T

	mu   sync.Mutex
	byID *cache.LRUExpireCache
}

func newLimiters[T any](fresh func() T) *limiters[T] {
	return &limiters[T]{fresh: fresh, byID: cache.NewLRUExpireCache(maxLimiters)}
}

// of returns what bounds the caller, or the address.
func (l *limiters[T]) of(id string) T {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.byID.Get(id)
	if !ok {
		limiter = l.fresh()
	}
	l.byID.Add(id, limiter, limiterIdle)
	return limiter.(T)
}

// callerKey tells callers apart.
func callerKey(caller secret.Caller) string { return caller.Cluster + " " + caller.String() }

// limit refuses what a caller asks beyond its rate.
func (a *api) limit(h huma.API) middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		limiter := a.limiters.of(callerKey(callerOf(ctx.Context())))
		if !limiter.Allow() {
			a.holder.wait(ctx.Context())
			refuseForNow(h, ctx, limiter.Limit(), "you ask too often; wait and try again")
			return
		}
		next(ctx)
	}
}

// charge takes a request for as many more as it costs beyond one, and refuses it when the caller's rate has not got
// that many now.
func (a *api) charge(ctx context.Context, more int) error {
	limiter := a.limiters.of(callerKey(callerOf(ctx)))
	more = min(more, limiter.Burst()) // what costs more than there can be is never possible
	if more <= 0 || limiter.AllowN(time.Now(), more) {
		return nil
	}
	exchangeOf(ctx).endTurn() // others do not wait for a refusal
	a.holder.wait(ctx)
	return huma.ErrorWithHeaders(newProblem(http.StatusTooManyRequests, "you ask too often, and a watch counts once for each of its paths; wait and try again, or watch a prefix"),
		http.Header{"Retry-After": {retryAfter(limiter.Limit() / rate.Limit(more))}})
}

// refuseForNow answers 429 and says when the next request has a chance.
func refuseForNow(h huma.API, ctx huma.Context, r rate.Limit, detail string) {
	ctx.SetHeader("Retry-After", retryAfter(r))
	_ = huma.WriteErr(h, ctx, http.StatusTooManyRequests, detail)
}

// retryAfter is how long one takes at the rate r, in whole seconds and at least one.
func retryAfter(r rate.Limit) string { return strconv.Itoa(max(1, int(math.Ceil(1/float64(r))))) }
