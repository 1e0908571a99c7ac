package notify

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/coffer-vault/coffer/internal/vault/notification"
)

// slackBody is what incoming webhooks of Slack take, and those of Mattermost and others that are like them.
type slackBody struct {
	Text string `json:"text"`
}

func slackMessage(template string, e *notification.Event) ([]byte, error) {
	if template == "" {
		template = "{{ .summary }}"
	}
	text, err := render(template, e, escapeForSlack)
	if err != nil {
		return nil, err
	}
	return json.Marshal(slackBody{Text: text})
}

// slackEscapes are the three characters that mean something to Slack: with them a reason could call a channel or show a link
// under another name.
var slackEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// everybody is what calls all members of a channel in chats that read names in plain text.
var everybody = regexp.MustCompile(`(?i)@(channel|here|all|everyone)`)

// escapeForSlack changes what is from an event, and not what the administrator has written around it.
func escapeForSlack(s string) string {
	return everybody.ReplaceAllString(slackEscapes.Replace(s), "@\u200b$1")
}
