package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/sdk"
)

// eventStreamType is the media type of server-sent events.
const eventStreamType = "text/event-stream"

// eventStream sends server-sent events.
type eventStream struct {
	w          io.Writer
	controller *http.ResponseController
}

// newEventStream begins the answer. A client that does not take what is sent in
// patience fails the write.
func newEventStream(h huma.Context, patience time.Duration) *eventStream {
	h.SetHeader("Content-Type", eventStreamType)
	s := &eventStream{w: h.BodyWriter()}
	if response, ok := s.w.(http.ResponseWriter); ok {
		s.controller = http.NewResponseController(response)
		s.w = &deadlineWriter{s.w, s.controller, patience}
		// The server's limit for reading a request would end it while it is answered.
		_ = s.controller.SetReadDeadline(time.Time{})
	}
	return s
}

// send sends the events of b, or that there are none. The id stands at the last: a
// client that has not got it gets all of them again.
func (s *eventStream) send(b batch) error {
	var out bytes.Buffer
	if len(b.events) == 0 {
		b.events = []vault.Event{{Kind: positionKind}}
	}
	for i, event := range b.events {
		data, err := json.Marshal(sdk.Event{Kind: sdk.EventKind(event.Kind), Path: event.Path.String(), Version: event.Version, At: event.At})
		if err != nil {
			return err
		}
		if i == len(b.events)-1 {
			out.WriteString("id: " + string(b.next) + "\n")
		}
		out.WriteString("data: ")
		out.Write(data)
		out.WriteString("\n\n")
	}
	return s.flush(out.Bytes())
}

// positionKind is that of an event that tells the position only.
const positionKind = changes.Kind(sdk.EventPosition)

// keepAlive sends a comment.
func (s *eventStream) keepAlive() error { return s.flush([]byte(":\n\n")) }

func (s *eventStream) flush(b []byte) error {
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	if s.controller == nil {
		return nil
	}
	return s.controller.Flush()
}
