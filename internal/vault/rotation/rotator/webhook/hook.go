package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/sethvargo/go-retry"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

const (
	// attemptPatience bounds one request, and attempts how many a step is; between them it waits, longer each time.
	attemptPatience = 20 * time.Second
	attempts        = 4
	firstWait       = 200 * time.Millisecond
)

// hook is a service that rotates.
type hook struct {
	config Config
	url    *url.URL
	signer *Signer
	client *http.Client
}

// Overlaps is what the owner says.
func (h *hook) Overlaps() bool { return !h.config.NoOverlap }

// Create asks for a credential.
func (h *hook) Create(ctx context.Context, current rotator.Credential) (rotator.Credential, error) {
	body, err := h.call(ctx, message{Step: "create", Current: current})
	if err != nil {
		return nil, err
	}
	return readNext(body, current)
}

// Set asks for next to be accepted.
func (h *hook) Set(ctx context.Context, current, next rotator.Credential) error {
	_, err := h.call(ctx, message{Step: "set", Current: current, Next: next})
	return err
}

// Test asks for next to be used.
func (h *hook) Test(ctx context.Context, next rotator.Credential) error {
	_, err := h.call(ctx, message{Step: "test", Next: next})
	return err
}

// Finish asks for previous to be refused.
func (h *hook) Finish(ctx context.Context, previous, current rotator.Credential) error {
	_, err := h.call(ctx, message{Step: "finish", Previous: previous, Current: current})
	return err
}

// Revoke asks for next to be refused.
func (h *hook) Revoke(ctx context.Context, current, next rotator.Credential) error {
	_, err := h.call(ctx, message{Step: "revoke", Current: current, Next: next})
	return err
}

// call sends a message until it is answered for good, and returns the answer's body.
func (h *hook) call(ctx context.Context, m message) (answer []byte, err error) {
	if m.Rotation = rotator.Run(ctx); m.Rotation == "" {
		return nil, fmt.Errorf("%w: the rotation has no name, by which the webhook could tell a step that comes again", rotator.ErrSetup)
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: the credential cannot be sent as JSON", rotator.ErrSetup)
	}
	waits := retry.WithMaxRetries(attempts-1, retry.NewExponential(firstWait))
	err = retry.Do(ctx, waits, func(ctx context.Context) error {
		answer, err = h.send(ctx, m, body)
		if errors.Is(err, rotator.ErrUnreachable) && ctx.Err() == nil {
			return retry.RetryableError(err)
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		return nil, rotator.Unreachable(h.where(m), ctx.Err())
	}
	return answer, err
}

func (h *hook) where(m message) string {
	return fmt.Sprintf("cannot %s by the webhook at %s (webhook-id %s)", m.Step, h.url.Host, id(m))
}

// id is the same whenever the step of the rotation is sent. Standard Webhooks wants no dot in it.
func id(m message) string { return m.Rotation + "-" + m.Step }

// send sends a message once.
func (h *hook) send(ctx context.Context, m message, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: its url makes no request", rotator.ErrSetup, h.where(m))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "coffer-rotator")
	if err := h.signer.Sign(request.Header, id(m), time.Now(), body); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", rotator.ErrSetup, h.where(m), err)
	}
	response, err := h.client.Do(request)
	if err != nil {
		return nil, h.explain(m, err)
	}
	defer response.Body.Close()
	if err := h.status(m, response.StatusCode); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, rotator.Unreachable(h.where(m)+": its answer broke off", err)
	}
	if len(answer) > maxAnswerBytes {
		return nil, fmt.Errorf("%w: %s: its answer has more than %d bytes", rotator.ErrSetup, h.where(m), maxAnswerBytes)
	}
	return answer, nil
}

// status says what an answer's status means, as the contract has it.
func (h *hook) status(m message, status int) error {
	where := fmt.Sprintf("%s: it answered %d", h.where(m), status)
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return fmt.Errorf("%w: %s, a redirect, and none is followed; give the address that it leads to", rotator.ErrSetup, where)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%w: %s: it does not take the signature; give both sides the same %s, and right clocks", rotator.ErrRights, where, SigningKeyPart)
	case status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s; its own log says why", rotator.ErrRefused, where)
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly,
		status == http.StatusTooManyRequests, status >= 500:
		return rotator.Unreachable(where, nil)
	}
	return fmt.Errorf("%w: %s; its own log says why", rotator.ErrSetup, where)
}

// explain says in our own words why there was no answer.
func (h *hook) explain(m message, err error) error {
	if kind := rotator.Certificate(err); kind != "" {
		return fmt.Errorf("%w: %s: %s", rotator.ErrSetup, h.where(m), kind)
	}
	if errors.Is(err, errAddress) {
		return fmt.Errorf("%w: %s: %w; the operator of Coffer can allow the host or its network", rotator.ErrSetup, h.where(m), errAddress)
	}
	return rotator.Unreachable(h.where(m), err)
}
