package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
)

// refusal is why a sink did not take an event. Its text holds nothing of the sink's URL, of its headers and of its answer.
type refusal struct {
	text string
	// permanent: it would be refused again.
	permanent bool
	// after is how long the sink wants to be left alone; 0 when it did not say.
	after time.Duration
}

func (r *refusal) Error() string { return r.text }

func again(text string) error { return &refusal{text: text} }

func never(text string) error { return &refusal{text: text, permanent: true} }

// maxAfter bounds what an answer may ask for.
const maxAfter = time.Hour

// answered says what an answer means. The connection is closed with it, so its body need not be read.
func answered(response *http.Response, now time.Time) error {
	_, _ = io.CopyN(io.Discard, response.Body, maxFileBytes)
	status := response.StatusCode
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return never(fmt.Sprintf("it answered %d, a redirect, and none is followed; give the address that it leads to", status))
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return &refusal{text: fmt.Sprintf("it answered %d", status), after: retryAfter(response.Header.Get("Retry-After"), now)}
	}
	return never(fmt.Sprintf("it answered %d; its own log says why", status))
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxAfter)
	}
	if date, err := http.ParseTime(header); err == nil {
		return min(max(date.Sub(now), 0), maxAfter)
	}
	return 0
}

// unanswered says in our own words why there was no answer: the error of a client holds the URL.
func unanswered(err error) error {
	if kind := rotator.Certificate(err); kind != "" {
		return again(kind)
	}
	var name *net.DNSError
	switch {
	case webhook.NotPublic(err):
		return again("its address is not public; allow its host or network under reach")
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return again("it did not answer in time")
	case errors.As(err, &name):
		return again("its name cannot be resolved")
	case errors.Is(err, syscall.ECONNREFUSED):
		return again("it refuses connections")
	}
	return again("it cannot be reached")
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
