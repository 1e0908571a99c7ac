package coffertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// keepAlive is often enough for clients, who take 35 s of silence for a dead server.
const keepAlive = 10 * time.Second

// maxWatchedPaths is Coffer's.
const maxWatchedPaths = 64

// feed is what changed.
type feed struct {
	events []sdk.Event
	// forgotten is how many events there were before those.
	forgotten int
	// more is closed when there are more.
	more chan struct{}
}

func newFeed() feed { return feed{more: make(chan struct{})} }

func (f *feed) add(e sdk.Event) {
	e.At = time.Now().UTC()
	f.events = append(f.events, e)
	close(f.more)
	f.more = make(chan struct{})
}

func (f *feed) end() int { return f.forgotten + len(f.events) }

// forget drops what there is; a position from before is lost, also when nothing
// happened since.
func (f *feed) forget() {
	f.forgotten, f.events = f.end()+1, nil
}

// scope is what a watch is about.
type scope struct {
	prefix string
	paths  []string
}

func scopeOf(q url.Values) (scope, *sdk.Problem) {
	prefix, p := parsePrefix(q.Get("prefix"))
	if p != nil {
		return scope{}, p
	}
	paths := q["path"]
	if len(paths) > maxWatchedPaths {
		return scope{}, problem(http.StatusUnprocessableEntity, sdk.CodeInvalid, "%d paths were named; name at most %d, or a prefix", len(paths), maxWatchedPaths)
	}
	for _, path := range paths {
		if p := checkPath(path); p != nil {
			return scope{}, p
		}
	}
	return scope{prefix, paths}, nil
}

func (s scope) contains(path string) bool {
	return path == "" || slices.Contains(s.paths, path) || (s.prefix != "" || len(s.paths) == 0) && below(path, s.prefix)
}

// watch sends changes until the client is gone or the server ends.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	about, p := scopeOf(r.URL.Query())
	if p != nil {
		answer(w, nil, p)
		return
	}
	s.mu.Lock()
	at := s.feed.end()
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		if _, err := fmt.Sscanf(id, positionFormat, &at); err != nil || at < s.feed.forgotten || at > s.feed.end() {
			p = problem(http.StatusGone, sdk.CodePositionLost, "what changed since Last-Event-ID is not known any more; read everything again, and watch without it")
		}
	}
	s.mu.Unlock()
	if p != nil {
		answer(w, nil, p)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for first := true; ; first = false {
		events, next, more := s.since(at, about)
		at = next
		if first || len(events) > 0 {
			if send(w, events, at) != nil {
				return
			}
		}
		if !s.wait(r.Context(), w, more) {
			return
		}
	}
}

// positionFormat is that of an event's id.
const positionFormat = "coffertest.%d"

// since are the events after a position that the caller may see, and when there are more.
func (s *Server) since(at int, about scope) (events []sdk.Event, next int, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.feed.events[max(0, at-s.feed.forgotten):] {
		if about.contains(e.Path) && !s.denied[e.Path] {
			events = append(events, e)
		}
	}
	return events, s.feed.end(), s.feed.more
}

// wait keeps the connection alive until there is more. It returns false when the watch
// is over.
func (s *Server) wait(ctx context.Context, w http.ResponseWriter, more <-chan struct{}) bool {
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		select {
		case <-more:
			return true
		case <-ctx.Done():
			return false
		case <-s.ending:
			return false
		case <-alive.C:
			if flush(w, []byte(":\n\n")) != nil {
				return false
			}
		}
	}
}

// send sends events, or the position when there are none. The last has the id.
func send(w http.ResponseWriter, events []sdk.Event, at int) error {
	if len(events) == 0 {
		events = []sdk.Event{{Kind: sdk.EventPosition}}
	}
	var out bytes.Buffer
	for i, event := range events {
		data, err := json.Marshal(event)
		if err != nil {
			return err
		}
		if i == len(events)-1 {
			fmt.Fprintf(&out, "id: "+positionFormat+"\n", at)
		}
		fmt.Fprintf(&out, "data: %s\n\n", data)
	}
	return flush(w, out.Bytes())
}

func flush(w http.ResponseWriter, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
