package notify

import (
	"encoding/json"

	"github.com/coffer-vault/coffer/internal/vault/notification"
)

// Types of contents.
const (
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
)

// described is an event, with a sentence for people.
type described struct {
	notification.Event
	Summary string `json:"summary"`
}

// webhookMessage is the event in JSON, or what the template makes of it.
func webhookMessage(template string, e *notification.Event) (body []byte, contentType string, err error) {
	if template == "" {
		body, err = json.Marshal(described{*e, e.Summary()})
		return body, typeJSON, err
	}
	text, err := render(template, e, asIs)
	if err != nil {
		return nil, "", err
	}
	if !json.Valid([]byte(text)) {
		return []byte(text), typeText, nil
	}
	return []byte(text), typeJSON, nil
}
