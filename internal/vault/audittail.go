package vault

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
)

// tailGrace is how long a stopping process goes on printing the audit rows that are not yet.
const tailGrace = 5 * time.Second

// startTail begins to print; the returned function ends that when what is there is printed, or after
// some seconds.
func (e *Engine) startTail(ctx context.Context) func() {
	if e.tail == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	grace, end := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.tail.Run(ctx, grace)
	}()
	return func() {
		defer end()
		cancel()
		select {
		case <-ended:
			return
		case <-time.After(tailGrace):
		}
		end()
		select {
		case <-ended:
		case <-time.After(time.Second): // it is stuck in a write
			e.logger.ErrorContext(ctx, "audit rows were not printed: standard output takes no more; they are in the log", "rows", e.tail.Waiting())
		}
	}
}

// tailObserver says in log and metrics what becomes of the tail's rows.
type tailObserver struct {
	logger  *slog.Logger
	metrics *metrics
}

// Printed implements audit.TailObserver.
func (o *tailObserver) Printed(rows int, waiting int64) {
	o.metrics.tailRows.WithLabelValues("printed").Add(float64(rows))
	o.metrics.tailWaiting.Set(float64(waiting))
}

// Lost implements audit.TailObserver.
func (o *tailObserver) Lost(writer uuid.UUID, first, last int64) {
	o.metrics.tailRows.WithLabelValues("lost").Add(float64(last - first + 1))
	o.logger.Error("audit rows were not printed; coffer audit export has those that are in the log", "writer", writer, "first", first, "last", last)
}

// Unknown implements audit.TailObserver.
func (o *tailObserver) Unknown(writer uuid.UUID, first, last int64) {
	o.metrics.tailRows.WithLabelValues("unknown").Add(float64(last - first + 1))
	o.logger.Warn("the answer to a commit of audit rows got lost, and they were not found: they were not written, or are not printed",
		"writer", writer, "first", first, "last", last)
}

// Failing implements audit.TailObserver.
func (o *tailObserver) Failing(err error) {
	if err != nil {
		o.logger.Warn("audit rows cannot be printed; trying again", "error", err)
		return
	}
	o.logger.Info("audit rows are printed again")
}
