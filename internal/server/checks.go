package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of invalid tokens from one address: each costs the Kubernetes API server a
// TokenReview, and nobody has that many by mistake.
const (
	refusalRate  = rate.Limit(2)
	refusalBurst = 40
)

var errTooManyRefused = errors.New("too many tokens of this address were refused")

// addressChecks bounds the tokens of one address that the API server is asked about. Those
// that it refuses count against the address, and those that it was asked about and has not
// answered count as if it would refuse them: else as many could be sent at one time as
// there are connections.
type addressChecks struct {
	refusals *rate.Limiter // those that it may still have

	mu    sync.Mutex
	under int           // tokens that are being checked
	ended chan struct{} // closed, and made anew, whenever a check ends
}

func newAddressChecks() *addressChecks {
	return &addressChecks{refusals: rate.NewLimiter(refusalRate, refusalBurst), ended: make(chan struct{})}
}

// begin waits until one more token may be refused besides those under check: good tokens
// make room as soon as they are answered, so that many new callers behind one gateway
// only wait. Its error is errTooManyRefused, or that of ctx.
func (c *addressChecks) begin(ctx context.Context) error {
	for {
		ended, err := c.tryBegin(time.Now())
		if ended == nil {
			return err
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryBegin returns nil when the check may begin, errTooManyRefused, or what is closed when
// it is worth another try.
func (c *addressChecks) tryBegin(now time.Time) (ended <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.refusals.TokensAt(now)
	switch {
	case left < 1:
		return nil, errTooManyRefused
	case left < float64(c.under+1):
		return c.ended, nil
	}
	c.under++
	return nil, nil
}

// end takes back what begin counted.
func (c *addressChecks) end(refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if refused {
		c.refusals.Allow()
	}
	c.under--
	close(c.ended)
	c.ended = make(chan struct{})
}
