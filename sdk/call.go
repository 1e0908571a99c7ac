package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswerBytes is far above the largest answer, a page of 1000 secrets with the
// longest descriptions and tags.
const maxAnswerBytes = 128 << 20

// Waiting between attempts: doubled each time, and half of it by chance, so that the
// clients of a server that comes back do not all come at once.
const (
	firstWait = 200 * time.Millisecond
	longWait  = 5 * time.Second
)

// call is one operation.
type call struct {
	method, route string
	query         url.Values
	// body is sent as JSON when not nil.
	body any
	// idempotencyKey goes into the header of that name when not empty.
	idempotencyKey string
	// repeatable calls have the effect of one when they are sent twice, so that they
	// may be sent again after a lost answer.
	repeatable bool
}

// call sends one operation, again when that is safe and of use, and decodes the
// answer into out, when not nil.
func (c *Client) call(ctx context.Context, what call, out any) error {
	var body []byte
	if what.body != nil {
		encoded, err := json.Marshal(what.body)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = encoded
		defer clear(body)
	}
	renewed := false
	for attempt := 0; ; attempt++ {
		within, told := c.hooks.begin(ctx, Attempt{Operation: what.method + " " + what.route, Path: what.query.Get("path"), Number: attempt + 1})
		a := c.attempt(within, what, body, out)
		told(a.err)
		if a.err == nil {
			return nil
		}
		if a.refused() && !renewed && c.token.renewed(a.token) {
			renewed = true
			continue
		}
		again := a.retry || what.repeatable && a.retryIfRepeatable
		if !again || attempt >= c.retries {
			return a.err
		}
		if err := sleep(ctx, max(a.wait, backoff(attempt))); err != nil {
			return a.err
		}
	}
}

// attempt is what came of sending a call once.
type attempt struct {
	err error
	// retry: it surely had no effect; retryIfRepeatable: it may have had one.
	retry, retryIfRepeatable bool
	// wait is how long the server asks to wait.
	wait time.Duration
	// token is the one that was sent.
	token string
}

// refused reports whether the server said that the token is no good.
func (a attempt) refused() bool { return isRefusal(a.err) }

// isRefusal reports whether err is the server's word that the token is no good, and not
// that there is none. A server that cannot tell says that it is unavailable.
func isRefusal(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == CodeUnauthenticated && e.Status == http.StatusUnauthorized
}

func (c *Client) attempt(ctx context.Context, what call, body []byte, out any) attempt {
	token, err := c.token.get()
	if err != nil {
		return attempt{err: &Error{Code: CodeUnauthenticated, Detail: err.Error(), cause: err}}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	target := *c.base
	target.Path += what.route
	target.RawQuery = what.query.Encode()
	request, err := http.NewRequestWithContext(ctx, what.method, target.String(), bytes.NewReader(body))
	if err != nil {
		return attempt{err: err}
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", c.userAgent)
	if what.idempotencyKey != "" {
		request.Header.Set("Idempotency-Key", what.idempotencyKey)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return noAnswer(c.base, err)
	}
	defer func() { _ = response.Body.Close() }()
	a := readAnswer(response, out)
	a.token = token
	return a
}

// noAnswer says what became of a request without an answer.
func noAnswer(base *url.URL, err error) attempt {
	if cause, ok := errors.AsType[*url.Error](err); ok {
		err = cause.Err // its own text repeats the URL
	}
	if errors.Is(err, errRedirect) {
		return attempt{err: fmt.Errorf("call %s: %w", base, err)}
	}
	detail := fmt.Sprintf("the server at %s does not answer: %v", base, err)
	if errors.Is(err, context.Canceled) {
		detail = fmt.Sprintf("the call of the server at %s was given up before its answer: %v", base, err)
	}
	dial, ok := errors.AsType[*net.OpError](err)
	return attempt{
		err:               &Error{Code: CodeUnavailable, Detail: detail, cause: err},
		retry:             ok && dial.Op == "dial" && !errors.Is(err, context.Canceled),
		retryIfRepeatable: isTransport(err),
	}
}

// isTransport reports whether err is trouble on the way, which may pass, and not the
// caller's own end or a certificate that is not trusted.
func isTransport(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isForgotten(err)
}

// isForgotten reports whether err is of a connection that was given up for its silence (see
// newTransport). net/http has no other sign of it than these words.
func isForgotten(err error) bool {
	return strings.Contains(err.Error(), "http2: client connection lost")
}

func readAnswer(response *http.Response, out any) attempt {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	defer clear(body)
	if err != nil {
		return attempt{
			err:               &Error{Code: CodeUnavailable, Detail: fmt.Sprintf("the server's answer broke off: %v", err), cause: err},
			retryIfRepeatable: isTransport(err),
		}
	}
	if response.StatusCode >= http.StatusBadRequest {
		return refusal(response, body)
	}
	if out == nil {
		return attempt{}
	}
	if err := json.Unmarshal(body, out); err != nil {
		// The decoder's words may quote the answer.
		return attempt{err: fmt.Errorf("the server's answer (status %d) is not Coffer's: is the address right?", response.StatusCode)}
	}
	return attempt{}
}

// refusal reads a Problem.
func refusal(response *http.Response, body []byte) attempt {
	e := &Error{Status: response.StatusCode, RequestID: response.Header.Get("X-Request-Id")}
	var p Problem
	if err := json.Unmarshal(body, &p); err == nil && p.Code != "" {
		e.Code, e.Detail, e.Fields = p.Code, p.Detail, p.Errors
	} else {
		e.Code, e.Detail = CodeInternal, "the server answered "+response.Status+", not in Coffer's words: is the address right?"
	}
	lost := response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusBadGateway ||
		response.StatusCode == http.StatusGatewayTimeout
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return attempt{
		err:               e,
		retry:             response.StatusCode == http.StatusTooManyRequests,
		retryIfRepeatable: lost,
		wait:              min(time.Duration(seconds)*time.Second, longWait),
	}
}

func backoff(attempt int) time.Duration {
	wait := min(firstWait<<attempt, longWait)
	return wait/2 + rand.N(wait/2)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
