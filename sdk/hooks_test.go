package sdk_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

type mark struct{}

// TestHooksHearOfAttempts: each of them, with its outcome, and their context goes along.
func TestHooksHearOfAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		marked := 0
		seen := func(next answerer) answerer {
			return func(r *http.Request) (*http.Response, error) {
				if r.Context().Value(mark{}) != nil {
					marked++
				}
				<-time.After(time.Second)
				return next(r)
			}
		}
		c := &conversation{answers: []answerer{
			seen(unavailable), seen(noServer), seen(events(`{"path":"a/b"}`)), seen(refuse(http.StatusNotFound, sdk.CodeNotFoundOrDenied)), seen(events(positionText)),
		}}
		var heard []string
		client := c.client(t, sdk.Config{Token: "t", Hooks: sdk.Hooks{Attempt: func(ctx context.Context, a sdk.Attempt) (context.Context, func(sdk.AttemptResult)) {
			heard = append(heard, fmt.Sprint("begin ", a))
			return context.WithValue(ctx, mark{}, true), func(r sdk.AttemptResult) {
				heard = append(heard, fmt.Sprintf("end %s %v %v", r.Code, r.Err == nil, r.Duration))
			}
		}}})
		_, err := client.Metadata(t.Context(), "a/b")
		if sdk.CodeOf(err) != sdk.CodeUnavailable {
			t.Errorf("a transport's own error is not tried again: %v", err)
		}
		_, err = client.Get(t.Context(), "a/b")
		must(t, err)
		if err := client.Delete(t.Context(), "a/b"); sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
			t.Errorf("got %v", err)
		}
		_, err = watchAll(t.Context(), client, sdk.WatchOptions{}, 1)
		must(t, err)
		wantList(t, "calls", heard,
			"begin {GET /v1/secret/metadata a/b 1}", "end unavailable false 1s", "begin {GET /v1/secret/metadata a/b 2}", "end unavailable false 1s",
			"begin {GET /v1/secret a/b 1}", "end  true 1s", "begin {DELETE /v1/secret a/b 1}", "end not_found_or_denied false 1s",
			"begin {GET /v1/watch  1}", "end  true 1s")
		if marked != 5 {
			t.Errorf("%d requests have the context of the hook", marked)
		}
	})
}

// TestHooksMayBeQuiet: one that wants no end is called without one.
func TestHooksMayBeQuiet(t *testing.T) {
	c := &conversation{answers: []answerer{events(`{"path":"a/b"}`)}}
	client := c.client(t, sdk.Config{Token: "t", Hooks: sdk.Hooks{Attempt: func(ctx context.Context, _ sdk.Attempt) (context.Context, func(sdk.AttemptResult)) {
		return ctx, nil
	}}})
	_, err := client.Get(t.Context(), "a/b")
	must(t, err)
}
