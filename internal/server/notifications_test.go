package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// oneChat are notifications that one chat takes, and that a stranger may not test.
type oneChat struct{ admin secret.Caller }

func (o oneChat) Test(_ context.Context, caller secret.Caller, sink string) ([]notification.Answer, error) {
	switch {
	case caller.String() != o.admin.String():
		return nil, secret.ErrDenied
	case sink != "" && sink != "chat":
		return nil, fmt.Errorf("%w: there is no such sink; there is chat", secret.ErrInvalid)
	}
	return []notification.Answer{{Sink: "chat", Kind: "slack", Delivered: true}}, nil
}

func TestNotificationsOverTheAPI(t *testing.T) {
	chat := &oneChat{}
	e := start(t, vaulttest.Start(t), func(c *server.Config) { c.Notifications = chat })
	admin, stranger := e.admin(t), e.account(t, "production")
	chat.admin = admin.caller
	c := e.client(t, admin)
	want := []sdk.NotificationAnswer{{Sink: "chat", Kind: "slack", Delivered: true}}
	for _, sink := range []string{"", "chat"} {
		got, err := c.TestNotifications(t.Context(), sink)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", sink, err, diff)
		}
	}
	if _, err := c.TestNotifications(t.Context(), "nobody"); sdk.CodeOf(err) != sdk.CodeInvalid || !strings.Contains(err.Error(), "there is chat") {
		t.Errorf("nobody: %v", err)
	}
	if _, err := e.client(t, stranger).TestNotifications(t.Context(), ""); sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
		t.Errorf("a stranger: %v", err)
	}
	off := start(t, e.Env, nil)
	if _, err := off.client(t, admin).TestNotifications(t.Context(), ""); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("off: %v", err)
	}
}
