package notify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/internal/safetemplate"
	"github.com/coffer-vault/coffer/internal/vault/notification"
)

// maxTextBytes bounds what a template makes: what chats take.
const maxTextBytes = 32 << 10

// fields are what a template may name. All are there for every event; those of which there is nothing to say are empty.
func fields(e *notification.Event) map[string]string {
	f := map[string]string{
		"id": e.ID, "type": string(e.Type), "time": e.Time.UTC().Format(time.RFC3339), "vault": e.Vault, "cluster": e.Cluster, "path": e.Path,
		"rotation": e.Rotation, "run": e.Run, "state": e.State, "fromVersion": number(e.FromVersion), "toVersion": number(e.ToVersion),
		"moved": "", "total": "", "reason": e.Reason, "by": e.By, "dueAt": "", "daysOverdue": number(int64(e.DaysOverdue)), "summary": e.Summary(),
	}
	if e.Consumers != nil {
		f["moved"], f["total"] = strconv.Itoa(e.Consumers.Moved), strconv.Itoa(e.Consumers.Total)
	}
	if e.DueAt != nil {
		f["dueAt"] = e.DueAt.UTC().Format(time.RFC3339)
	}
	return f
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// render renders text over the fields of e, each of which escape changed before.
func render(text string, e *notification.Event, escape func(string) string) (string, error) {
	data := map[string][]byte{}
	for name, value := range fields(e) {
		data[name] = []byte(escape(value))
	}
	const key = "template"
	out, err := safetemplate.Render(map[string]string{key: text}, data)
	if errors.Is(err, safetemplate.ErrNoSuchKey) {
		return "", fmt.Errorf("%w; there are %s", err, strings.Join(slices.Sorted(maps.Keys(data)), ", "))
	}
	if err != nil {
		return "", err
	}
	if len(out[key]) > maxTextBytes {
		return "", fmt.Errorf("%w: it makes %d bytes, and at most %d are sent", safetemplate.ErrTemplate, len(out[key]), maxTextBytes)
	}
	return string(out[key]), nil
}

// checkTemplate refuses a template that cannot be rendered for events of some type.
func checkTemplate(text string) error {
	for _, t := range append(notification.Types(), notification.Test) {
		if _, err := render(text, &notification.Event{Type: t}, asIs); err != nil {
			return err
		}
	}
	return nil
}

func asIs(s string) string { return s }
