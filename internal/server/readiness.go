package server

import (
	"context"
	"sync"
	"time"
)

// readyFor is how long an answer about readiness is given again: anybody may ask,
// and each question is one for Postgres.
const readyFor = time.Second

// readiness is the last answer. Its zero value has none.
type readiness struct {
	mu    sync.Mutex
	asked time.Time
	err   error
}

// of returns the last answer, or that of ask when it is too old. Those who come
// meanwhile wait for the same one.
func (r *readiness) of(ctx context.Context, ask func(context.Context) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) < readyFor {
		return r.err
	}
	r.err = ask(context.WithoutCancel(ctx)) // which has a time limit of its own
	r.asked = time.Now()
	return r.err
}
