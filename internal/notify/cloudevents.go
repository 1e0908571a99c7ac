package notify

import (
	"context"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/coffer-vault/coffer/internal/vault/notification"
)

// The modes of the HTTP binding: attributes as headers, or all in one body.
const (
	modeBinary     = "binary"
	modeStructured = "structured"
)

// writeCloudEvent fills a request as the HTTP binding of CloudEvents 1.0 has it.
func writeCloudEvent(ctx context.Context, mode string, e *notification.Event, request *http.Request) error {
	made := event.New()
	made.SetID(e.ID)
	made.SetSource("urn:uuid:" + e.Vault)
	made.SetType(string(e.Type))
	made.SetTime(e.Time)
	if e.Path != "" {
		made.SetSubject(e.Path)
	}
	if err := made.SetData(event.ApplicationJSON, described{*e, e.Summary()}); err != nil {
		return err
	}
	ctx = binding.WithForceBinary(ctx)
	if mode == modeStructured {
		ctx = binding.WithForceStructured(ctx)
	}
	return cehttp.WriteRequest(ctx, (*binding.EventMessage)(&made), request)
}
