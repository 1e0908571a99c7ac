package sdk

import (
	"context"
	"net/http"
)

// Ready is nil when the server can serve: it has its keys and reaches its database. Anybody may ask. The error has
// CodeUnavailable otherwise, as it has when the server does not answer, and Status is 0 then. An answer is not asked for again.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, call{method: http.MethodGet, route: "/readyz"}, nil)
}
