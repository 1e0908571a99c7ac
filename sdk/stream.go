package sdk

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
)

// opening is a request whose answer may take any time.
type opening struct {
	method, route string
	query         url.Values
	header        http.Header
	body          []byte
}

// open sends a request and returns its answer, which the caller closes, unless the
// attempt failed. It is sent a second time only when the file has another token than the one
// that was refused.
func (c *Client) open(ctx context.Context, o opening) (io.ReadCloser, attempt) {
	body, a := c.openOnce(ctx, o, 1)
	if a.refused() && c.token.renewed(a.token) {
		body, a = c.openOnce(ctx, o, 2)
	}
	return body, a
}

func (c *Client) openOnce(ctx context.Context, o opening, number int) (io.ReadCloser, attempt) {
	ctx, told := c.hooks.begin(ctx, Attempt{Operation: o.method + " " + o.route, Number: number})
	body, a := c.send(ctx, o)
	told(a.err)
	return body, a
}

func (c *Client) send(ctx context.Context, o opening) (io.ReadCloser, attempt) {
	token, err := c.token.get()
	if err != nil {
		return nil, attempt{err: &Error{Code: CodeUnauthenticated, Detail: err.Error(), cause: err}}
	}
	target := *c.base
	target.Path += o.route
	target.RawQuery = o.query.Encode()
	request, err := http.NewRequestWithContext(ctx, o.method, target.String(), bytes.NewReader(o.body))
	if err != nil {
		return nil, attempt{err: err}
	}
	maps.Copy(request.Header, o.header)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("User-Agent", c.userAgent)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, noAnswer(c.base, err)
	}
	if response.StatusCode != http.StatusOK {
		defer func() { _ = response.Body.Close() }()
		a := readAnswer(response, nil)
		a.token = token
		if a.err == nil {
			a.err = &Error{Code: CodeInternal, Status: response.StatusCode, Detail: "the server answered " + response.Status + ", which is not Coffer's: is the address right?"}
		}
		return nil, a
	}
	return response.Body, attempt{}
}
