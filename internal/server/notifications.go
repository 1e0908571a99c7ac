package server

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	notificationTestInput struct {
		Sink string `query:"sink" maxLength:"63" doc:"Name of the sink; all when absent" example:"platform-chat"`
	}
	notificationTestOutput struct{ Body sdk.NotificationTest }
)

func (a *api) registerNotifications(h huma.API) {
	huma.Register(h, operation(http.MethodPost, "/v1/notifications/test", "testNotifications", "Send a test to the sinks of notifications, and say how each took it"), a.testNotifications)
}

func (a *api) testNotifications(ctx context.Context, in *notificationTestInput) (*notificationTestOutput, error) {
	const doing = "test the notifications"
	if a.notifications == nil {
		return nil, a.fail(ctx, doing, fmt.Errorf("%w: this server tells nobody of anything", secret.ErrInvalid))
	}
	answers, err := a.notifications.Test(ctx, callerOf(ctx), in.Sink)
	if err != nil {
		return nil, a.fail(ctx, doing, err)
	}
	out := sdk.NotificationTest{Sinks: make([]sdk.NotificationAnswer, len(answers))}
	for i, answer := range answers {
		out.Sinks[i] = sdk.NotificationAnswer{Sink: answer.Sink, Kind: answer.Kind, Delivered: answer.Delivered, Detail: answer.Detail}
	}
	return &notificationTestOutput{out}, nil
}
