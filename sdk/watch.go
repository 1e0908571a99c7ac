package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// EventKind says what changed. A server newer than the client may send kinds that are
// not listed here: take one as a change of its path.
type EventKind string

// The kinds of event.
const (
	// EventPut and EventRotate are a new current version of a path.
	EventPut    EventKind = "put"
	EventRotate EventKind = "rotate"
	// EventPending is a new version that is not current.
	EventPending EventKind = "pending"
	// EventRollback and EventPromote make a version current that was there already; a
	// rollback may make it an older one.
	EventRollback EventKind = "rollback"
	EventPromote  EventKind = "promote"
	// EventDelete is a path taken away, EventUndelete one brought back, and EventDestroy
	// one that is gone for good.
	EventDelete   EventKind = "delete"
	EventUndelete EventKind = "undelete"
	EventDestroy  EventKind = "destroy"
	// EventVersions is a change of the state of single versions, never of the current one.
	EventVersions EventKind = "versions"
	// EventAccess is a changed access policy, EventMetadata are other changed metadata,
	// without a new version.
	EventAccess   EventKind = "access"
	EventMetadata EventKind = "metadata"
	// EventPolicy has no path: other rules are about the caller now, so that it may see
	// more or less than before. Read everything again.
	EventPolicy EventKind = "policy"
	// EventPosition has no path and is no change. The first says that the watch stands:
	// what changes from then on comes as an event. Later ones say that nothing is
	// missing, after a new connection and about once a minute.
	EventPosition EventKind = "position"
	// EventReset has no path: the client was away for longer than the server keeps
	// changes, and the watch begins anew here. Read everything again.
	EventReset EventKind = "reset"
)

// Event is a change of a path. It never has a value.
type Event struct {
	Kind EventKind `json:"kind" doc:"What happened: put, rotate, pending, rollback, promote, delete, undelete, destroy, versions, access or metadata of a path; policy when the caller's rights changed; position when nothing did. More may come" example:"rotate"`
	Path string    `json:"path,omitempty" doc:"Path that changed; absent for policy and position" example:"production/payments/database"`
	// Version is the current version after the change.
	Version int64     `json:"version,omitempty" doc:"Current version after the change" example:"8"`
	At      time.Time `json:"at,omitzero" doc:"When it changed, by the clock of the database"`
	// Position is WatchOptions.After of a watch that goes on after this event. Of events
	// that came together only the last has one.
	Position string `json:"-"`
}

// WatchOptions says what to watch: paths below Prefix and the named Paths; everything
// that the caller may see when both are empty.
type WatchOptions struct {
	// Prefix is "production/payments/".
	Prefix string
	// Paths are whole paths, at most 64.
	Paths []string
	// After is Event.Position of an earlier watch of this caller, to go on after it;
	// from now on when empty.
	After string
	// Retrying, when not nil, hears why the watch is interrupted and when it connects
	// again. It is called by the goroutine that ranges over the events.
	Retrying func(err error, wait time.Duration)
}

const (
	// watchSilence is how long a server may say nothing: it sends something each 10 s.
	watchSilence = 35 * time.Second
	// maxWatchBackoff counts the failures after which waiting grows no more: longWait.
	maxWatchBackoff = 5
)

// Watch tells of changes of the paths that the caller may list or read, as they happen,
// each at least once:
//
//	for event, err := range client.Watch(ctx, sdk.WatchOptions{Prefix: "production/"}) {
//		if err != nil {
//			return err // the watch cannot be: a path that is none, a token that is refused
//		}
//		...
//	}
//
// When the connection breaks or the server is away the watch goes on by itself after
// the last event, however long that takes; Retrying hears of it. Whoever wants to miss
// nothing reads after the first event, an EventPosition, and everything again after
// EventReset and EventPolicy.
//
// The iteration ends when ctx does, without an error, and after an error.
func (c *Client) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watch{client: c, options: o, position: o.After, yield: yield}
		w.run(ctx)
	}
}

// watch is one Watch under way.
type watch struct {
	client  *Client
	options WatchOptions
	yield   func(Event, error) bool

	// position is that of the last event.
	position string
	// reset says that the watch began anew and that the caller does not know yet.
	reset bool
	// stood says that something came over the present connection.
	stood bool
}

// errEnough says that the caller wants no more events.
var errEnough = errors.New("enough")

func (w *watch) run(ctx context.Context) {
	for failures := 0; ; {
		w.stood = false
		a := w.follow(ctx)
		if ctx.Err() != nil || errors.Is(a.err, errEnough) {
			return
		}
		if w.stood {
			failures = 0
		}
		failures++
		switch code := CodeOf(a.err); {
		case code == CodePositionLost && w.position != "":
			w.position, w.reset = "", true
		case code == CodeUnauthenticated && w.client.token.file != "":
			// It may be renewed late: the file is read again with each attempt.
		case !passing(code):
			w.yield(Event{}, a.err)
			return
		}
		wait := max(a.wait, backoff(min(failures, maxWatchBackoff)))
		if w.options.Retrying != nil {
			w.options.Retrying(a.err, wait)
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// passing reports whether what failed with code may succeed later as it is.
func passing(code Code) bool {
	switch code {
	case CodeUnavailable, CodeRateLimited, CodeInternal, CodeIntegrityFailed:
		return true
	default:
		return false
	}
}

// follow delivers what comes over one connection. Its error is never nil.
func (w *watch) follow(ctx context.Context) attempt {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(watchSilence, func() { cancel(errSilence) })
	defer silence.Stop()
	query := url.Values{"path": w.options.Paths}
	set(query, "prefix", w.options.Prefix)
	header := http.Header{"Accept": {"text/event-stream"}}
	if w.position != "" {
		header.Set("Last-Event-ID", w.position)
	}
	body, a := w.client.open(ctx, opening{method: http.MethodGet, route: "/v1/watch", query: query, header: header})
	if a.err != nil {
		return a
	}
	defer func() { _ = body.Close() }()
	err := readEvents(body, func() { silence.Reset(watchSilence) }, w.take)
	if cause := context.Cause(ctx); errors.Is(cause, errSilence) {
		err = cause
	}
	if _, ok := errors.AsType[*Error](err); !ok && !errors.Is(err, errEnough) {
		err = &Error{Code: CodeUnavailable, Detail: fmt.Sprintf("the watch broke off: %v", err), cause: err}
	}
	return attempt{err: err}
}

// take delivers one message.
func (w *watch) take(m message) error {
	w.stood = true
	if len(m.data) == 0 {
		return nil
	}
	var event Event
	if err := json.Unmarshal(m.data, &event); err != nil {
		return &Error{Code: CodeInvalid, Detail: "the server's answer is no event of Coffer's: is the address right?"}
	}
	event.Position = m.id
	if w.reset {
		w.reset = false
		if !w.yield(Event{Kind: EventReset, At: time.Now().UTC()}, nil) {
			return errEnough
		}
	}
	if m.id != "" {
		w.position = m.id
	}
	if !w.yield(event, nil) {
		return errEnough
	}
	return nil
}
