package sdk

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Client calls one server as one caller. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	http      *http.Client
	ownHTTP   bool // http was made by New
	token     *tokenSource
	retries   int
	userAgent string
	hooks     Hooks
}

// New returns a client. It connects to nothing yet.
func New(c Config) (*Client, error) {
	c = c.withDefaults()
	base, err := parseAddress(c.Address)
	if err != nil {
		return nil, err
	}
	ownHTTP := c.HTTPClient == nil
	if ownHTTP {
		if c.HTTPClient, err = newHTTPClient(c.CACert); err != nil {
			return nil, err
		}
	}
	token := &tokenSource{token: c.Token, now: time.Now}
	if c.Token == "" {
		token.file = c.TokenFile
	}
	return &Client{
		base: base, http: c.HTTPClient, ownHTTP: ownHTTP, token: token, retries: c.Retries, userAgent: c.UserAgent, hooks: c.Hooks,
	}, nil
}

// Close closes the connections that no call is on. They are all that a Client holds: calls
// and watches end with their contexts, and a Cache with its own Close. A program that uses
// its Client until it ends need not call it. The connections of a Config.HTTPClient are
// left to whoever made that.
func (c *Client) Close() {
	if c.ownHTTP {
		c.http.CloseIdleConnections()
	}
}

// Address is the server's URL.
func (c *Client) Address() string { return c.base.String() }

// Get reads the current version of a path. It needs the read capability.
func (c *Client) Get(ctx context.Context, path string) (Secret, error) {
	return c.GetVersion(ctx, path, 0)
}

// GetVersion reads one version of a path, the current one when version is 0.
func (c *Client) GetVersion(ctx context.Context, path string, version int64) (Secret, error) {
	if version == 0 {
		return c.get(ctx, path, "")
	}
	return c.get(ctx, path, strconv.FormatInt(version, 10))
}

// get reads a version by number or label; the current one when it is empty.
func (c *Client) get(ctx context.Context, path, version string) (Secret, error) {
	query := url.Values{"path": {path}}
	set(query, "version", version)
	var out Secret
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/secret", query: query, repeatable: true}, &out)
	return out, err
}

// Put writes a new version of a path, which it makes when there is none. It needs the
// write capability, and share besides when r has an access policy.
//
// Each call has an idempotency key, so that a write whose answer is lost is sent again
// and takes effect once. When all attempts fail the error has CodeUnavailable, and the
// write may have taken effect: to repeat it in another call, set r.IdempotencyKey in
// both.
func (c *Client) Put(ctx context.Context, path string, r PutRequest) (Metadata, error) {
	return c.write(ctx, http.MethodPut, "/v1/secret", path, r, r.IdempotencyKey)
}

// Rotate writes a new version of a path that exists. It needs the rotate capability.
// See Put for lost answers.
func (c *Client) Rotate(ctx context.Context, path string, r PutRequest) (Metadata, error) {
	return c.write(ctx, http.MethodPost, "/v1/secret/rotate", path, r, r.IdempotencyKey)
}

// Patch writes a new version of a path that exists, whose value is the current one with
// some properties set or removed. The value must be a JSON object. Of two patches at one
// time none undoes the other. It needs the write capability. See Put for lost answers.
func (c *Client) Patch(ctx context.Context, path string, r PatchRequest) (Metadata, error) {
	return c.write(ctx, http.MethodPatch, "/v1/secret/properties", path, r, r.IdempotencyKey)
}

func (c *Client) write(ctx context.Context, method, route, path string, r any, key string) (Metadata, error) {
	if key == "" {
		key = rand.Text()
	}
	var out Metadata
	err := c.call(ctx, call{
		method: method, route: route, query: url.Values{"path": {path}}, body: r, idempotencyKey: key, repeatable: true,
	}, &out)
	return out, err
}

// Update changes description, tags, reminder, maximum of versions and access policy
// without a new version. It needs the share capability for the access policy, and
// write for all else.
func (c *Client) Update(ctx context.Context, path string, r UpdateRequest) (Metadata, error) {
	var out Metadata
	err := c.call(ctx, call{
		method: http.MethodPatch, route: "/v1/secret", query: url.Values{"path": {path}}, body: r, repeatable: true,
	}, &out)
	return out, err
}

// Delete deletes a path; Undelete brings it back, and a later Put begins anew with the
// next version number. It needs the delete capability. A deletion whose answer is lost
// is not sent again: the error has CodeUnavailable.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.call(ctx, call{method: http.MethodDelete, route: "/v1/secret", query: url.Values{"path": {path}}}, nil)
}

// Metadata describes the current version of a path. It needs the list or the read
// capability.
func (c *Client) Metadata(ctx context.Context, path string) (Metadata, error) {
	var out Metadata
	err := c.call(ctx, call{
		method: http.MethodGet, route: "/v1/secret/metadata", query: url.Values{"path": {path}}, repeatable: true,
	}, &out)
	return out, err
}

// ListPage lists up to limit secrets below prefix ("" for all) that come after the
// path after ("" from the start). A limit of 0 is the server's default of 100.
func (c *Client) ListPage(ctx context.Context, prefix, after string, limit int) (SecretList, error) {
	query := url.Values{}
	set(query, "prefix", prefix)
	set(query, "after", after)
	setInt(query, "limit", int64(limit))
	var out SecretList
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/secrets", query: query, repeatable: true}, &out)
	return out, err
}

// maxPage is the largest page that the server gives.
const maxPage = 1000

// List lists all secrets below prefix ("" for all) that the caller may list, page
// after page.
func (c *Client) List(ctx context.Context, prefix string) ([]Metadata, error) {
	var all []Metadata
	for after := ""; ; {
		page, err := c.ListPage(ctx, prefix, after, maxPage)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		after = page.Next
	}
}

// Overdue lists the secrets below prefix ("" for all) whose rotation is overdue.
func (c *Client) Overdue(ctx context.Context, prefix string) ([]Overdue, error) {
	query := url.Values{}
	set(query, "prefix", prefix)
	var out OverdueList
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/rotation/overdue", query: query, repeatable: true}, &out)
	return out.Items, err
}

// Rotations lists the secrets below prefix ("" for all) that have a reminder, and when
// their rotation is due. It needs the list capability.
func (c *Client) Rotations(ctx context.Context, prefix string) ([]Rotation, error) {
	query := url.Values{}
	set(query, "prefix", prefix)
	var out RotationList
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/rotation", query: query, repeatable: true}, &out)
	return out.Items, err
}

// ExplainQuery asks whether someone may do something on a path.
type ExplainQuery struct {
	Path string
	// Capability is "read" when empty.
	Capability string
	// Namespace and ServiceAccount, or User and Groups, say who is asked about; the
	// caller when all are empty.
	Namespace, ServiceAccount string
	// UID of the service account to suppose; that of the one which exists when empty.
	UID    string
	User   string
	Groups []string
	// Environment to suppose; that of the namespace when empty.
	Environment string
}

// Explain says whether someone may do something on a path, and why. About others it
// needs the audit capability on the path.
func (c *Client) Explain(ctx context.Context, q ExplainQuery) (Explanation, error) {
	query := url.Values{"path": {q.Path}}
	set(query, "capability", q.Capability)
	set(query, "namespace", q.Namespace)
	set(query, "serviceAccount", q.ServiceAccount)
	set(query, "uid", q.UID)
	set(query, "user", q.User)
	set(query, "environment", q.Environment)
	for _, group := range q.Groups {
		query.Add("group", group)
	}
	var out Explanation
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/explain", query: query, repeatable: true}, &out)
	return out, err
}

// Whoami says who the server takes the caller to be.
func (c *Client) Whoami(ctx context.Context) (Identity, error) {
	var out Identity
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/whoami", repeatable: true}, &out)
	return out, err
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func setInt(query url.Values, name string, value int64) {
	if value != 0 {
		query.Set(name, strconv.FormatInt(value, 10))
	}
}

func setTime(query url.Values, name string, value time.Time) {
	if !value.IsZero() {
		query.Set(name, value.UTC().Format(time.RFC3339Nano))
	}
}
