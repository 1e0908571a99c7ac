package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Serve answers Clients at a Unix socket until ctx ends.
func (s *Supervisor) Serve(ctx context.Context, socket string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listening for commands: %w", err)
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listening for commands: %w", err)
	}
	return nil
}

func (s *Supervisor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /services", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Status()) // the client has gone: nobody to tell
	})
	do := func(act func(context.Context, string) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := act(r.Context(), r.PathValue("name")); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	}
	// A service started for a request must outlive it, and so must the wait for its readiness.
	mux.HandleFunc("POST /services/{name}/start", do(func(ctx context.Context, name string) error {
		return s.Start(context.WithoutCancel(ctx), name)
	}))
	mux.HandleFunc("POST /services/{name}/stop", do(func(ctx context.Context, name string) error {
		return s.Stop(ctx, name, false)
	}))
	mux.HandleFunc("POST /services/{name}/crash", do(func(ctx context.Context, name string) error {
		return s.Stop(ctx, name, true)
	}))
	return mux
}

// Client speaks to a Supervisor of another process.
type Client struct{ http http.Client }

// NewClient is for the supervisor at the Unix socket.
func NewClient(socket string) *Client {
	return &Client{http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Status tells of all services.
func (c *Client) Status(ctx context.Context) ([]Status, error) {
	body, err := c.call(ctx, http.MethodGet, "/services")
	if err != nil {
		return nil, err
	}
	var all []Status
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("asking for the state of the services: %w", err)
	}
	return all, nil
}

// Start starts a service and waits until it is ready.
func (c *Client) Start(ctx context.Context, name string) error { return c.Act(ctx, name, "start") }

// Stop ends a service in order.
func (c *Client) Stop(ctx context.Context, name string) error { return c.Act(ctx, name, "stop") }

// Crash kills a service.
func (c *Client) Crash(ctx context.Context, name string) error { return c.Act(ctx, name, "crash") }

// Act has the supervisor start, stop or crash a service, by that word.
func (c *Client) Act(ctx context.Context, name, verb string) error {
	_, err := c.call(ctx, http.MethodPost, "/services/"+name+"/"+verb)
	return err
}

func (c *Client) call(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the supervisor of the local environment: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("asking the supervisor of the local environment: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s", method, path, body)
	}
	return body, nil
}
