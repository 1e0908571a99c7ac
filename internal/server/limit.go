package server

import (
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

// Limits of invalid tokens from one address: each costs the Kubernetes API server a
// TokenReview, and nobody has that many by mistake.
const (
	refusalRate  = rate.Limit(2)
	refusalBurst = 40
)

// limiters holds a token bucket for each caller, or for each address.
type limiters struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex
	byCaller *cache.LRUExpireCache
}

func newLimiters(r rate.Limit, burst int) *limiters {
	return &limiters{rate: r, burst: burst, byCaller: cache.NewLRUExpireCache(maxLimiters)}
}

// of returns the bucket of a caller.
func (l *limiters) of(caller string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.byCaller.Get(caller)
	if !ok {
		limiter = rate.NewLimiter(l.rate, l.burst)
	}
	l.byCaller.Add(caller, limiter, limiterIdle)
	return limiter.(*rate.Limiter)
}

// callerKey tells callers apart.
func callerKey(caller secret.Caller) string { return caller.Cluster + " " + caller.String() }

// limit refuses what a caller asks beyond its rate.
func (a *api) limit(h huma.API) middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		limiter := a.limiters.of(callerKey(callerOf(ctx.Context())))
		if !limiter.Allow() {
			a.holder.wait(ctx.Context())
			refuseForNow(h, ctx, a.limiters.rate, "you ask too often; wait and try again")
			return
		}
		next(ctx)
	}
}

// refuseForNow answers 429 and says when the next request has a chance.
func refuseForNow(h huma.API, ctx huma.Context, r rate.Limit, detail string) {
	ctx.SetHeader("Retry-After", strconv.Itoa(max(1, int(math.Ceil(1/float64(r))))))
	_ = huma.WriteErr(h, ctx, http.StatusTooManyRequests, detail)
}
