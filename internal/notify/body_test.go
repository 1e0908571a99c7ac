package notify

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is an event with all that there is to say of one of the type.
func sample(t notification.Type) *notification.Event {
	at := time.Date(2026, 11, 27, 9, 30, 0, 0, time.UTC)
	e := &notification.Event{
		ID: "5c0a8a2e-6a0f-4d8e-9c59-8f2f7a3f1b11-7-x", Type: t, Time: at, Vault: "0b9c2c1e-94d4-4f9d-8e0e-2f4a4b6f9a01", Cluster: "eu-1",
		Path: "production/payments/database", FromVersion: 7, By: "user:alice",
	}
	switch {
	case t == notification.SecretOverdue:
		due := at.Add(-50 * time.Hour)
		e.DueAt, e.DaysOverdue, e.By, e.Cluster = &due, 2, "", ""
	case strings.HasPrefix(string(t), "dev.coffer.rotation."):
		e.Rotation, e.Run, e.State, e.ToVersion = "payments/database", "5c0a8a2e-6a0f-4d8e-9c59-8f2f7a3f1b11", "any", 8
		e.Consumers, e.Reason = &notification.Consumers{Moved: 2, Total: 3}, "the pods of payments/api <crash> & @here is why"
	}
	return e
}

// TestGoldenMessages: what each kind of sink is sent of each type.
func TestGoldenMessages(t *testing.T) {
	for _, kind := range []string{kindSlack, kindWebhook, kindCloudEvent} {
		t.Run(kind, func(t *testing.T) {
			var all strings.Builder
			for _, eventType := range append(notification.Types(), notification.Test) {
				all.WriteString(sent(t, sinkConfig{Name: "x", Kind: kind, URL: "https://hooks.example.org/in"}, sample(eventType)) + "\n\n")
			}
			rotated := sample(notification.SecretLeaked) // the other is of a path without a rotation
			rotated.Run, rotated.Rotation = sample(notification.RotationFailed).Run, "payments/database"
			all.WriteString(sent(t, sinkConfig{Name: "x", Kind: kind, URL: "https://hooks.example.org/in"}, rotated) + "\n\n")
			golden(t, kind+".txt", all.String())
		})
	}
	t.Run("cloudevents, structured", func(t *testing.T) {
		golden(t, "cloudevents-structured.txt", sent(t, sinkConfig{Name: "x", Kind: kindCloudEvent, Mode: modeStructured, URL: "https://hooks.example.org/in"}, sample(notification.RotationFailed))+"\n")
	})
	t.Run("templates", func(t *testing.T) {
		text := sent(t, sinkConfig{Name: "x", Kind: kindSlack, URL: "https://hooks.example.org/in", Template: `<!here> *{{ .rotation }}* {{ if .reason }}{{ .reason }}{{ else }}{{ .type }}{{ end }}`}, sample(notification.RotationFailed)) + "\n\n" +
			sent(t, sinkConfig{Name: "x", Kind: kindWebhook, URL: "https://hooks.example.org/in", Template: `{"alias": {{ toJson .id }}, "message": {{ toJson .summary }}}`}, sample(notification.RotationFailed)) + "\n\n" +
			sent(t, sinkConfig{Name: "x", Kind: kindWebhook, URL: "https://hooks.example.org/in", Template: `{{ .path }}: {{ .moved }}/{{ .total }}`}, sample(notification.RotationCurrent)) + "\n"
		golden(t, "templates.txt", text)
	})
}

// sent is the request of an event, with its headers in order.
func sent(t *testing.T, c sinkConfig, e *notification.Event) string {
	t.Helper()
	s, err := newSink(&c, webhook.Limits{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	address, err := s.address()
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.request(t.Context(), address, e, e.Time)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := httputil.DumpRequestOut(r, true)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(dump), "\r\n", "\n")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got)\n%s\nif the change is meant: go test ./internal/notify -run TestGoldenMessages -update", diff)
	}
}

// TestTextsAreEscapedForChats: nothing of an event calls a channel or makes a link.
func TestTextsAreEscapedForChats(t *testing.T) {
	e := sample(notification.RotationFailed)
	e.Reason = "<!channel> <https://evil.example|all is well> @channel @Here &lt;"
	body, err := slackMessage("", e)
	if err != nil {
		t.Fatal(err)
	}
	var got slackBody
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if want := "&lt;!channel&gt; &lt;https://evil.example|all is well&gt; @\u200bchannel @\u200bHere &amp;lt;."; !strings.HasSuffix(got.Text, want) {
		t.Errorf("it says %q, want it to end in %q", got.Text, want)
	}
}

// FuzzTemplate: whatever it is, a template is refused or makes a message, of which a chat gets valid JSON.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"{{ .summary }}", "{{ .nope }}", "{{ range . }}{{ . }}{{ end }}", `{"a": {{ toJson . }}}`, "{{ .time | upper }} <!here>", "{{ b64dec .id }}", "\xff{{ .path }}"} {
		f.Add(seed, "two pods <crash> & @here")
	}
	f.Fuzz(func(t *testing.T, text, reason string) {
		e := sample(notification.RotationFailed)
		e.Reason = reason
		if checkTemplate(text) != nil {
			return
		}
		body, err := slackMessage(text, e)
		if err == nil && !json.Valid(body) {
			t.Fatalf("a chat is sent %q", body)
		}
		if body, contentType, err := webhookMessage(text, e); err == nil && text != "" && (contentType == typeJSON) != json.Valid(body) {
			t.Fatalf("%q is sent as %s", body, contentType)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "999999999": maxAfter, now.Add(time.Minute).Format(http.TimeFormat): time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0, now.AddDate(1, 0, 0).Format(http.TimeFormat): maxAfter,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func TestPace(t *testing.T) {
	p := Pace{First: 5 * time.Second, Longest: 15 * time.Minute}
	for attempts, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 5: 80 * time.Second, 20: 15 * time.Minute, 1 << 30: 15 * time.Minute} {
		if got := p.wait(attempts); got < want*8/10 || got > want*12/10 {
			t.Errorf("after %d attempts %s, want about %s", attempts, got, want)
		}
	}
}
