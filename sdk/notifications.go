package sdk

import (
	"context"
	"net/http"
	"net/url"
)

// NotificationTest is how sinks of notifications took a test.
type NotificationTest struct {
	Sinks []NotificationAnswer `json:"sinks" nullable:"false" doc:"The sinks, in the order of the manager's configuration"`
}

// NotificationAnswer is how one sink took a test.
type NotificationAnswer struct {
	Sink      string `json:"sink" doc:"Name of the sink" example:"platform-chat"`
	Kind      string `json:"kind" doc:"slack, webhook or cloudevents"`
	Delivered bool   `json:"delivered" doc:"Whether the sink took it"`
	Detail    string `json:"detail,omitempty" doc:"Why it did not, and what to do"`
}

// TestNotifications sends a test to the sink of that name, or to all when it is empty, and says how each took it. It needs the write
// capability on sys/notifications.
func (c *Client) TestNotifications(ctx context.Context, sink string) ([]NotificationAnswer, error) {
	query := url.Values{}
	if sink != "" {
		query.Set("sink", sink)
	}
	var out NotificationTest
	err := c.call(ctx, call{method: http.MethodPost, route: "/v1/notifications/test", query: query}, &out)
	return out.Sinks, err
}
