package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/semaphore"
)

// Bounds of the bodies in memory. They are read before their requests have a turn among
// those of all callers, so that who sends slowly holds only a turn of its own; so the
// turns of all do not bound them.
//
// Up to smallBody a body is of the order of what its connection costs anyway, and a caller
// has no more of them than turns of its own (maxAtOnce). Nearly all secrets are smaller. Of
// larger ones, maxLargeBodies are there at a time, at maxBodyBytes each: 96 MiB, of the
// 512 MiB of the chart. Where large bodies stall, other large ones wait, first come, first
// served, for at most bodyReadTimeout until a place is free; small ones do not.
const (
	smallBody      = 32 << 10
	maxLargeBodies = 64
)

// bodies reads the bodies of requests ahead of their decoding.
type bodies struct{ large *semaphore.Weighted }

func newBodies() bodies { return bodies{large: semaphore.NewWeighted(maxLargeBodies)} }

// read reads the body up to maxBodyBytes: what is too large is answered where it is decoded.
// done must be called when the request is answered, unless there is an error.
//
// setDeadline limits reading from the connection, and no more once the body is there:
// the connection is watched for the client's hanging up then. The error is an unreadError,
// or that of ctx from waiting for a place.
func (b bodies) read(ctx context.Context, body io.Reader, setDeadline func(time.Time) error) (_ io.Reader, done func(), err error) {
	// Without a connection there are no deadlines, and none is needed.
	_ = setDeadline(time.Now().Add(bodyReadTimeout))
	var whole bytes.Buffer
	_, readErr := whole.ReadFrom(io.LimitReader(body, smallBody+1))
	done = func() {}
	if whole.Len() > smallBody {
		if err := b.large.Acquire(ctx, 1); err != nil {
			return nil, nil, err
		}
		done = func() { b.large.Release(1) }
		_ = setDeadline(time.Now().Add(bodyReadTimeout)) // waiting was not the client's doing
		whole.Grow(maxBodyBytes - whole.Len() + bytes.MinRead)
		_, readErr = whole.ReadFrom(io.LimitReader(body, maxBodyBytes-int64(whole.Len())))
	}
	switch {
	case readErr != nil:
		done()
		return nil, nil, &unreadError{readErr}
	case whole.Len() < maxBodyBytes:
		_ = setDeadline(time.Time{})
	}
	return &whole, done, nil
}

// unreadError is of a body that did not come whole: it came too slowly, or broke off.
type unreadError struct{ cause error }

func (e *unreadError) Error() string { return "reading the body: " + e.cause.Error() }

func (e *unreadError) Unwrap() error { return e.cause }

// refuseBody answers a request whose body is not there, or did not get a place. Nothing was
// done of what it asks.
func (a *api) refuseBody(h huma.API, ctx huma.Context, err error) {
	if _, unread := errors.AsType[*unreadError](err); !unread {
		a.refuseTurn(h, ctx, err)
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = huma.WriteErr(h, ctx, http.StatusRequestTimeout, "the body of the request came too slowly, and nothing was done; try again")
		return
	}
	_ = huma.WriteErr(h, ctx, http.StatusBadRequest, "the body of the request broke off, and nothing was done; send it whole")
}

// readAhead is a request whose body was read.
type readAhead struct {
	humaContext
	body io.Reader
}

type humaContext huma.Context // its name is not that of its method Context

// BodyReader implements huma.Context.
func (r readAhead) BodyReader() io.Reader { return r.body }

// SetReadDeadline implements huma.Context; there is nothing left to wait for.
func (readAhead) SetReadDeadline(time.Time) error { return nil }

// Unwrap gives huma's adapters what they wrapped.
func (r readAhead) Unwrap() huma.Context { return r.humaContext }
