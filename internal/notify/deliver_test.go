package notify_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/coffer-vault/coffer/internal/configfile"
	"github.com/coffer-vault/coffer/internal/notify"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

const signingKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="

// try sends a test to the sinks of a file, and returns what the first answered.
func try(t *testing.T, env *vaulttest.Env, config *configfile.File[*notify.Config]) string {
	t.Helper()
	answers, err := notify.Tester{Vault: env.Engine, Notifier: notify.New(notify.Options{Vault: env.Engine, Config: config})}.Test(t.Context(), env.Admin, "")
	if err != nil {
		t.Fatal(err)
	}
	if answers[0].Delivered {
		return "delivered"
	}
	return answers[0].Detail
}

// TestRequests: what comes at a receiver is what its kind wants, and what is refused says why and never where.
func TestRequests(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Notify: true})
	said := &log{}
	t.Run("signed, with a header of a file", func(t *testing.T) {
		verifier, err := standardwebhooks.NewWebhook(signingKey)
		if err != nil {
			t.Fatal(err)
		}
		hook := receive(t, nil)
		config := open(t, said, hook.sink("hook", "webhook", "signingKeyFile: key", "headerFiles: {Authorization: token}"),
			map[string]string{"key": signingKey + "\n", "token": "Bearer t0ken\n"})
		if got := try(t, env, config); got != "delivered" {
			t.Fatal(got)
		}
		came := hook.came()[0]
		if err := verifier.Verify([]byte(came.Body), came.Header); err != nil || came.Header.Get("Authorization") != "Bearer t0ken" {
			t.Errorf("%v: %v", err, came)
		}
		if verifier.Verify([]byte(came.Body+" "), came.Header) == nil {
			t.Error("the signature is of another body too")
		}
	})
	for _, mode := range []string{"binary", "structured"} {
		t.Run("CloudEvents, "+mode, func(t *testing.T) {
			bus := receive(t, nil)
			if got := try(t, env, open(t, said, bus.sink("bus", "cloudevents", "mode: "+mode), nil)); got != "delivered" {
				t.Fatal(got)
			}
			came := bus.came()[0]
			again := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(came.Body))
			again.Header = came.Header
			event, err := binding.ToEvent(t.Context(), cehttp.NewMessageFromHttpRequest(again))
			if err != nil || event.Validate() != nil || event.Type() != "dev.coffer.notification.test" || !strings.HasPrefix(event.Source(), "urn:uuid:") {
				t.Errorf("%v: %+v", err, event)
			}
			if structured := strings.HasPrefix(came.Header.Get("Content-Type"), "application/cloudevents+json"); structured != (mode == "structured") {
				t.Errorf("its type is %s", came.Header.Get("Content-Type"))
			}
		})
	}
	for status, want := range map[int]string{
		204: "delivered", 302: "a redirect, and none is followed", 404: "it answered 404; its own log says why", 429: "it answered 429", 500: "it answered 500",
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			hook := receive(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/s3cret-place")
				w.WriteHeader(status)
			})
			if got := try(t, env, open(t, said, hook.sink("hook", "slack"), nil)); !strings.Contains(got, want) || strings.Contains(got, "s3cret") || len(hook.came()) != 1 {
				t.Errorf("%q and %d requests, want %q", got, len(hook.came()), want)
			}
		})
	}
	t.Run("an address that is not public", func(t *testing.T) {
		hook := receive(t, nil)
		sinks := "  - {name: hook, kind: slack, urlFile: url}\n"
		closed := openWith(t, said, strings.Replace(head, "reach: {networks: [127.0.0.0/8]}\n", "", 1)+sinks, map[string]string{"url": hook.URL + "/s3cret-place"})
		if got := try(t, env, closed); !strings.Contains(got, "its address is not public") || strings.Contains(got, "s3cret") || len(hook.came()) != 0 {
			t.Errorf("%q and %d requests", got, len(hook.came()))
		}
	})
	for name, c := range map[string]struct{ fields, url, want string }{
		"no file":             {"", "", "its URL cannot be used"},
		"no URL":              {"", "s3cret-place", "it is no address such as"},
		"a CA of another":     {"", "SERVER", "authority that is not known here"},
		"a key that is none":  {"signingKeyFile: url", "SERVER", "its signing key cannot be used"},
		"a header of no file": {"headerFiles: {X-Team: none}", "SERVER", "the file of its header X-Team cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			hook := receive(t, nil)
			files := map[string]string{}
			if c.url != "" {
				files["url"] = strings.Replace(c.url, "SERVER", hook.URL+"/s3cret-place", 1)
			}
			config := open(t, said, "  - name: hook\n    kind: webhook\n    urlFile: url\n    "+c.fields+"\n", files)
			if got := try(t, env, config); !strings.Contains(got, c.want) || strings.Contains(got, "s3cret") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if strings.Contains(said.String(), "s3cret") {
		t.Errorf("the log says where: %s", said)
	}
}
