package server

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type watchInput struct {
	Prefix      string   `query:"prefix" doc:"Paths below this prefix; everything when there is no path either" example:"production/payments/"`
	Path        []string `query:"path,explode" maxItems:"64" doc:"A path, also one that does not exist yet; may be repeated"`
	LastEventID string   `header:"Last-Event-ID" doc:"The id of the last event that was received, to go on after it; from now on when absent"`
}

var eventType = reflect.TypeFor[sdk.Event]()

func (a *api) registerWatch(h huma.API) {
	o := operation(http.MethodGet, "/v1/watch", "watch", "Tell of changes as they happen, never of values")
	o.Errors = append(o.Errors, http.StatusGone)
	o.Responses = map[string]*huma.Response{"200": {
		Description: "Server-sent events without an end, whose data are one Event in JSON each. The last of those that come together has an id",
		Content:     map[string]*huma.MediaType{eventStreamType: {Schema: h.OpenAPI().Components.Schemas.Schema(eventType, true, "")}},
	}}
	huma.Register(h, o, a.watch)
}

// watch begins to follow before it answers, so that what keeps it from that has a
// status of its own.
func (a *api) watch(ctx context.Context, in *watchInput) (*huma.StreamResponse, error) {
	scope, err := scopeOf(in)
	if err != nil {
		return nil, err
	}
	e := exchangeOf(ctx)
	if err := a.charge(ctx, scope.Parts()-1); err != nil {
		return nil, err
	}
	leave, ok := a.watches.enter(e.caller)
	if !ok {
		return nil, huma.ErrorWithHeaders(newProblem(http.StatusTooManyRequests,
			"too many watches are open, of yours, of your namespace or of all; end some, or watch a prefix in place of many paths"), http.Header{"Retry-After": {"5"}})
	}
	e.after = append(e.after, leave)
	e.endless = true
	f := a.follow(clientOf(ctx), scope, changes.Position(in.LastEventID))
	e.after = append(e.after, f.stop)
	select {
	case first := <-f.batches:
		e.endTurn()
		return &huma.StreamResponse{Body: func(h huma.Context) { a.stream(clientOf(ctx), h, f, first) }}, nil
	case <-f.done:
		return nil, a.fail(ctx, "watch", f.err)
	case <-ctx.Done():
		return nil, a.fail(ctx, "watch", ctx.Err())
	case <-a.ending:
		return nil, a.fail(ctx, "watch", secret.ErrUnavailable)
	}
}

func scopeOf(in *watchInput) (scope vault.Scope, err error) {
	if scope.Prefix, err = secret.ParsePrefix(in.Prefix); err != nil {
		return scope, problemOf("", err)
	}
	for _, path := range in.Path {
		parsed, err := parsePath(path)
		if err != nil {
			return scope, err
		}
		scope.Paths = append(scope.Paths, parsed)
	}
	return scope, nil
}

// batch is what the engine delivers at a time.
type batch struct {
	events []vault.Event
	next   changes.Position
}

// following is a watch of the engine under way.
type following struct {
	batches chan batch
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // of the watch, once done is closed
}

// follow begins a watch of the engine, until ctx ends or stop.
func (a *api) follow(ctx context.Context, scope vault.Scope, from changes.Position) *following {
	f := &following{batches: make(chan batch), done: make(chan struct{})}
	ctx, f.cancel = context.WithCancel(ctx)
	go func() {
		defer close(f.done)
		defer func() {
			if caught := recover(); caught != nil {
				logPanic(ctx, a.logger, exchangeOf(ctx), caught)
				f.err = errPanicked
			}
		}()
		f.err = a.vault.Watch(ctx, callerOf(ctx), scope, from, func(ctx context.Context, events []vault.Event, next changes.Position) error {
			select {
			case f.batches <- batch{events, next}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return f
}

// stop ends the watch and waits for its end.
func (f *following) stop() {
	f.cancel()
	<-f.done
}

// stream sends what f delivers until the client is gone or too slow, its token is not
// good any more, or the server stops. It then breaks off without a word: the client
// comes again with the last id, and is told then what is the matter.
func (a *api) stream(ctx context.Context, h huma.Context, f *following, first batch) {
	a.metrics.watches.Inc()
	defer a.metrics.watches.Dec()
	out := newEventStream(h, a.watches.limits.Patience)
	if out.send(first) != nil {
		return
	}
	check := time.NewTicker(a.watches.limits.Check)
	defer check.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-a.ending:
			return
		case <-f.done:
			a.logger.InfoContext(ctx, "a watch ended", "error", f.err, "requestID", exchangeOf(ctx).requestID)
			return
		case next := <-f.batches:
			// As for any request, the answer is at most some seconds old.
			if a.recheck(ctx) != good {
				return
			}
			err = out.send(next)
		case <-check.C:
			if a.recheck(ctx) == bad {
				return
			}
			err = out.keepAlive()
		}
		if err != nil {
			return
		}
	}
}

// identity is what is known of the caller of a watch.
type identity int

const (
	good identity = iota
	// unknown: the token cannot be checked now. What it would get waits.
	unknown
	// bad: the token is not good any more, or is another caller's by now, such as one of
	// another environment.
	bad
)

// recheck looks again who the caller of a watch is.
func (a *api) recheck(ctx context.Context) identity {
	e := exchangeOf(ctx)
	caller, err := a.authenticator.Authenticate(ctx, e.token)
	caller.RequestID, caller.Address = e.caller.RequestID, e.caller.Address
	switch {
	case err == nil && reflect.DeepEqual(caller, e.caller):
		return good
	case isUnauthenticated(err), err == nil:
		return bad
	default:
		return unknown
	}
}
