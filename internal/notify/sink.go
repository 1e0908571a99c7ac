package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
)

// maxFileBytes bounds a file that holds a URL, a header or a key.
const maxFileBytes = 16 << 10

// sink is one receiver. Its files are read for every request: a mounted Secret may change.
type sink struct {
	name   string
	config sinkConfig
	filter filter
	limits webhook.Limits
}

func newSink(c *sinkConfig, limits webhook.Limits, folder string) (*sink, error) {
	if err := c.complete(folder); err != nil {
		return nil, err
	}
	s := &sink{name: c.Name, config: *c, limits: limits}
	if c.URL != "" {
		if _, err := s.address(); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	if _, err := (rotator.TLS{CA: c.CA}).Config("any"); err != nil {
		return nil, errors.New("ca: it holds no certificate in PEM; leave it out for the machine's authorities")
	}
	if c.Template != "" {
		if err := checkTemplate(c.Template); err != nil {
			return nil, fmt.Errorf("template: %w", err)
		}
	}
	var err error
	s.filter, err = newFilter(c.Types, c.Paths)
	return s, err
}

// reservedHeader reports headers that are Coffer's to set.
func reservedHeader(name string) bool {
	if !httpguts.ValidHeaderFieldName(name) {
		return true
	}
	switch canonical := textproto.CanonicalMIMEHeaderKey(name); canonical {
	case "Content-Type", "Content-Length", "Host", "User-Agent", "Transfer-Encoding", "Connection":
		return true
	default:
		return strings.HasPrefix(canonical, "Webhook-") || strings.HasPrefix(canonical, "Ce-")
	}
}

// readFile returns what a file of the configuration holds, without the end of its last line.
func readFile(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(content), "\r\n")
	if text == "" || len(content) > maxFileBytes {
		return "", fmt.Errorf("%s holds nothing, or more than %d bytes", name, maxFileBytes)
	}
	return text, nil
}

// address is where the sink is. Its errors hold nothing of it.
func (s *sink) address() (*url.URL, error) {
	text := s.config.URL
	if text == "" {
		var err error
		if text, err = readFile(s.config.URLFile); err != nil {
			return nil, err
		}
	}
	address, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil || address.Hostname() == "" || address.Scheme != "https" && address.Scheme != "http":
		return nil, errors.New("it is no address such as https://hooks.example.org/coffer")
	case address.User != nil || address.Fragment != "":
		return nil, errors.New("it has a user or a fragment; put what it takes to log in into headerFiles")
	case address.Scheme == "http" && !s.limits.AllowHTTP:
		return nil, errors.New("it is of http, and would be read on the way; write https, or set reach.http to true")
	}
	return address, nil
}

// deliver sends e once. It is nil when the sink took it, and else a *refusal.
func (s *sink) deliver(ctx context.Context, e *notification.Event, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.Timeout))
	defer cancel()
	address, err := s.address()
	if err != nil {
		return again("its URL cannot be used: " + err.Error())
	}
	secured, err := rotator.TLS{CA: s.config.CA}.Config(address.Hostname())
	if err != nil {
		return again("its ca cannot be used")
	}
	request, err := s.request(ctx, address, e, now)
	if err != nil {
		return err
	}
	response, err := s.limits.Client(address.Hostname(), secured).Do(request)
	if err != nil {
		return unanswered(err)
	}
	defer func() { _ = response.Body.Close() }()
	return answered(response, now)
}

// request is what is sent.
func (s *sink) request(ctx context.Context, address *url.URL, e *notification.Event, now time.Time) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), http.NoBody)
	if err != nil {
		return nil, never("its URL makes no request")
	}
	for name, file := range s.config.HeaderFiles {
		value, err := readFile(file)
		if err != nil || !httpguts.ValidHeaderFieldValue(value) {
			return nil, again("the file of its header " + name + " cannot be read, or holds what no header can")
		}
		request.Header.Set(name, value)
	}
	request.Header.Set("User-Agent", "coffer-notifier")
	if s.config.Kind == kindCloudEvent {
		if err := writeCloudEvent(ctx, s.config.Mode, e, request); err != nil {
			return nil, never("the event makes no CloudEvent")
		}
		return request, nil
	}
	body, contentType, err := s.body(e)
	if err != nil {
		return nil, never(err.Error())
	}
	request.Header.Set("Content-Type", contentType)
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return request, s.sign(request, e, now, body)
}

func (s *sink) body(e *notification.Event) (body []byte, contentType string, err error) {
	if s.config.Kind == kindSlack {
		body, err = slackMessage(s.config.Template, e)
		return body, typeJSON, err
	}
	return webhookMessage(s.config.Template, e)
}

// sign signs what a webhook is sent, if it has a key.
func (s *sink) sign(request *http.Request, e *notification.Event, now time.Time, body []byte) error {
	if s.config.SigningKeyFile == "" {
		return nil
	}
	key, err := readFile(s.config.SigningKeyFile)
	if err != nil {
		return again("the file of its signing key cannot be read")
	}
	signer, err := webhook.NewSigner(key)
	if err != nil {
		return again("its signing key cannot be used: " + err.Error())
	}
	if err := signer.Sign(request.Header, e.ID, now, body); err != nil {
		return never(err.Error())
	}
	return nil
}
