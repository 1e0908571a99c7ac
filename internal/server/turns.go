package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/semaphore"
)

// Limits of what is worked on at a time, by weight. A caller's requests beyond maxAtOnce
// wait for its own earlier ones, so that whatever it sends, others find at most that many
// of its requests before theirs at the database and the processor. Reads at one time
// share their statements. A write weighs twice as much: it holds a connection, and more
// writes of one caller than the engine's pool has would only wait there, with everybody
// else's behind them.
//
// While others ask too, every request is besideWeight of its caller's share: the caller gets less done so, and a
// neighbour's one request does not stand behind its many
// (docs/performance.md, "beside a storm").
const (
	maxAtOnce      = 32
	maxAtOnceOfAll = 256
	maxWaiting     = 256 // requests of a caller, whatever they weigh

	readWeight   = 1
	writeWeight  = 2
	besideWeight = 8
	// besideFor is how long after its last request a caller counts as one that asks: longer
	// than the usual time between two probes or scrapes of a service.
	besideFor = 30 * time.Second
)

var errTooManyWaiting = errors.New("too many requests of this caller wait already")

// turns bounds the requests that are worked on, of each caller and of all.
type turns struct {
	all *semaphore.Weighted

	mu       sync.Mutex
	byCaller map[string]*callerTurns
	// last asked last, and before it another caller did.
	last, before asked
}

// asked is when a caller last asked.
type asked struct {
	caller string
	at     time.Time
}

// callerTurns is there while the caller has requests.
type callerTurns struct {
	atOnce *semaphore.Weighted // first come, first served
	known  int                 // requests at work or waiting
}

func newTurns() *turns {
	return &turns{all: semaphore.NewWeighted(maxAtOnceOfAll), byCaller: map[string]*callerTurns{}}
}

// own waits for the turn among the caller's requests, and returns what ends it. Its error
// is errTooManyWaiting, at once, or that of ctx.
func (t *turns) own(ctx context.Context, caller string, weight int64) (done func(), err error) {
	own, beside, err := t.enter(caller, time.Now())
	if err != nil {
		return nil, err
	}
	share := weight // of what its caller may have at work
	if beside {
		share = besideWeight
	}
	if err := own.atOnce.Acquire(ctx, share); err != nil {
		t.leave(caller, own)
		return nil, err
	}
	return func() {
		own.atOnce.Release(share)
		t.leave(caller, own)
	}, nil
}

// ofAll waits for the turn among all requests, and returns what ends it. It is for
// requests that have a turn of their caller's and all that they wait for from outside:
// whoever holds one is at work. Its error is that of ctx.
func (t *turns) ofAll(ctx context.Context, weight int64) (done func(), err error) {
	if err := t.all.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	return func() { t.all.Release(weight) }, nil
}

// enter counts a request in, and says whether others than its caller ask too.
func (t *turns) enter(caller string, now time.Time) (own *callerTurns, beside bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.caller != caller {
		t.before = t.last
	}
	t.last = asked{caller: caller, at: now}
	beside = !t.before.at.IsZero() && now.Sub(t.before.at) < besideFor
	own = t.byCaller[caller]
	if own == nil {
		own = &callerTurns{atOnce: semaphore.NewWeighted(maxAtOnce)}
		t.byCaller[caller] = own
	}
	if own.known >= maxAtOnce+maxWaiting {
		return nil, false, errTooManyWaiting
	}
	own.known++
	return own, beside, nil
}

func (t *turns) leave(caller string, own *callerTurns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.known--; own.known == 0 {
		delete(t.byCaller, caller)
	}
}

// queue lets a request wait for its turn among its caller's, then reads its body, and lets
// it wait for its turn among all.
func (a *api) queue(h huma.API) middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		weight := int64(writeWeight)
		if ctx.Method() == http.MethodGet {
			weight = readWeight
		}
		endOwn, err := a.turns.own(ctx.Context(), callerKey(callerOf(ctx.Context())), weight)
		if err != nil {
			a.refuseTurn(h, ctx, err)
			return
		}
		endOwn = sync.OnceFunc(endOwn)
		defer endOwn()
		if ctx.Operation().RequestBody != nil {
			body, done, err := a.bodies.read(ctx.Context(), ctx.BodyReader(), ctx.SetReadDeadline)
			if err != nil {
				a.refuseBody(h, ctx, err)
				return
			}
			defer done()
			ctx = readAhead{ctx, body}
		}
		endOfAll, err := a.turns.ofAll(ctx.Context(), weight)
		if err != nil {
			a.refuseTurn(h, ctx, err)
			return
		}
		endOfAll = sync.OnceFunc(endOfAll)
		defer endOfAll()
		exchangeOf(ctx.Context()).endTurn = func() { endOfAll(); endOwn() }
		next(ctx)
	}
}

// refuseTurn answers a request that got no turn.
func (a *api) refuseTurn(h huma.API, ctx huma.Context, err error) {
	if errors.Is(err, errTooManyWaiting) {
		a.holder.wait(ctx.Context())
		refuseForNow(h, ctx, 1, "too many of your requests wait already; send fewer at a time")
		return
	}
	ctx.SetHeader("Retry-After", "1")
	_ = huma.WriteErr(h, ctx, http.StatusServiceUnavailable, "the request waited too long for its turn; try again")
}
