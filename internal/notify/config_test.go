package notify

import (
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/notification"
)

const fileHead = "apiVersion: vault.coffer.dev/v1alpha1\nkind: NotificationConfiguration\n"

// TestFileIsChecked: each message says where the mistake is.
func TestFileIsChecked(t *testing.T) {
	sink := func(fields ...string) string {
		return fileHead + "sinks:\n  - name: chat\n    " + strings.Join(fields, "\n    ") + "\n"
	}
	slack := func(fields ...string) string {
		return sink(append([]string{"kind: slack", "urlFile: url"}, fields...)...)
	}
	for _, c := range []struct{ file, want string }{
		{"", "write apiVersion"},
		{"kind: Secret\napiVersion: v1\n", `it is a "Secret" of "v1"`},
		{fileHead + "sink: []", `unknown field "sink"`},
		{slack("chanel: x"), `unknown field "chanel"`},
		{fileHead + "overdueEveryDays: -1", "overdueEveryDays: it is -1"},
		{fileHead + "reach: {networks: [10.0.0.0]}", "no '/'"},
		{fileHead + "sinks:\n" + strings.Repeat("  - {name: a, kind: slack, urlFile: u}\n", 33), "name at most 32"},
		{fileHead + "sinks:\n" + strings.Repeat("  - {name: a, kind: slack, urlFile: u}\n", 2), "sinks[1].name: there is another sink a"},
		{fileHead + "sinks: [{name: The Chat}]", `sinks[0].name: it is "The Chat"`},
		{sink("kind: slack"), "sinks[0].urlFile: it is missing"},
		{slack("url: https://a.example"), "sinks[0].url: there is a urlFile too"},
		{sink("kind: mail", "urlFile: url"), `sinks[0].kind: it is "mail"; write slack, webhook or cloudevents`},
		{sink("kind: webhook", "url: ftp://a.example"), "sinks[0].url: it is no address"},
		{sink("kind: webhook", "url: http://a.example"), "sinks[0].url: it is of http"},
		{sink("kind: webhook", "url: https://u:c4nary@a.example"), "headerFiles"},
		{slack("ca: x"), "sinks[0].ca: it holds no certificate"},
		{slack("timeout: 5m"), "sinks[0].timeout: it is 5m; write up to 30s"},
		{slack("mode: binary"), "sinks[0].mode: only cloudevents have one"},
		{sink("kind: cloudevents", "urlFile: url", "mode: batch"), `sinks[0].mode: it is "batch"; write binary or structured`},
		{sink("kind: cloudevents", "urlFile: url", "template: x"), "sinks[0].template:"},
		{slack("signingKeyFile: key"), "sinks[0].signingKeyFile: only a webhook is signed"},
		{slack("headerFiles: {Content-Type: x}"), "sinks[0].headerFiles[Content-Type]"},
		{slack("headerFiles: {'a b': x}"), "sinks[0].headerFiles[a b]"},
		{slack("headerFiles: {Authorization: ''}"), "sinks[0].headerFiles[Authorization]"},
		{slack("types: [dev.coffer.rotation.finished]"), "sinks[0].types[0]"},
		{slack("types: ['dev.coffer.rot*']"), "sinks[0].types[0]"},
		{slack("paths: ['production/*']"), "sinks[0].paths[0]"},
		{slack("template: '{{ .value }}'"), `there are by, cluster, daysOverdue`},
		{slack("template: '{{ env \"HOME\" }}'"), "sinks[0].template:"},
		{slack("template: '" + strings.Repeat("x", maxTemplateSize+1) + "'"), "sinks[0].template: it has"},
	} {
		_, err := parse([]byte(c.file), "/etc")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "c4nary") {
			t.Errorf("%.120q: %v, want %q", c.file, err, c.want)
		}
	}
}

func TestFileWithEverything(t *testing.T) {
	c, err := parse([]byte(fileHead+`
overdueEveryDays: 14
reach: {hosts: [mattermost.chat.svc], networks: [10.0.0.0/8], http: true}
sinks:
  - name: platform-chat
    kind: slack
    urlFile: chat-url
    types: [dev.coffer.rotation.failed, dev.coffer.secret.*]
    paths: [production/payments/, staging]
    template: "{{ .summary }}"
  - name: siem
    kind: webhook
    url: http://siem.example.org/coffer
    headerFiles: {Authorization: /run/siem-token}
    signingKeyFile: hook-key
    timeout: 5s
  - {name: bus, kind: cloudevents, urlFile: bus-url, mode: structured}
`), "/etc/coffer-notifications")
	if err != nil {
		t.Fatal(err)
	}
	chat, siem := c.sink("platform-chat"), c.sink("siem")
	if chat.config.URLFile != "/etc/coffer-notifications/chat-url" || siem.config.HeaderFiles["Authorization"] != "/run/siem-token" || c.sink("nobody") != nil {
		t.Errorf("%+v %+v", chat.config, siem.config)
	}
	for _, test := range []struct {
		kind notification.Type
		path string
		want bool
	}{
		{notification.RotationFailed, "production/payments/database", true},
		{notification.RotationFailed, "production/payments", true},
		{notification.RotationFailed, "production/paymentsx/database", false},
		{notification.RotationFailed, "staging/a", true},
		{notification.SecretOverdue, "staging/a", true},
		{notification.RotationDone, "staging/a", false},
	} {
		if got := chat.filter.wants(&notification.Event{Type: test.kind, Path: test.path}); got != test.want {
			t.Errorf("%s of %s: %v", test.kind, test.path, got)
		}
	}
}
