package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"
)

// connections of a load.
const connections = 32

// load is requests, one after the other on each of its connections.
type load struct {
	server       *httptest.Server
	method, path string
	token        string
	body         []byte
	connections  int
	// pause is between two requests of a connection.
	pause time.Duration
	// spent is asked before and after; see loaded.
	spent func() (spent, error)
}

// loaded is how a load went.
type loaded struct {
	perSecond float64
	latencies []time.Duration // sorted
	// processor is the processor time that one request cost.
	processor spent
}

func (l loaded) p99() time.Duration { return l.latencies[len(l.latencies)*99/100] }

// run runs l for d. Any answer but a success is an error.
func (l load) run(ctx context.Context, d time.Duration) (loaded, error) {
	transport := l.server.Client().Transport.(*http.Transport).Clone()
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = l.connections, l.connections
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if err := l.warm(ctx, client); err != nil {
		return loaded{}, err
	}
	var (
		mu     sync.Mutex
		all    []time.Duration
		failed error
		group  sync.WaitGroup
	)
	before, err := l.spent()
	if err != nil {
		return loaded{}, err
	}
	begin := time.Now()
	for range l.connections {
		group.Go(func() {
			took, err := l.loop(ctx, client, begin.Add(d))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				failed = err
			}
		})
	}
	group.Wait()
	elapsed := time.Since(begin)
	after, err := l.spent()
	if err := errors.Join(failed, err); err != nil {
		return loaded{}, err
	}
	slices.Sort(all)
	return loaded{float64(len(all)) / elapsed.Seconds(), all, after.since(before).each(len(all))}, nil
}

// warm opens every connection.
func (l load) warm(ctx context.Context, client *http.Client) error {
	errs := make(chan error, l.connections)
	for range l.connections {
		go func() { errs <- l.ask(ctx, client) }()
	}
	var err error
	for range l.connections {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}

func (l load) loop(ctx context.Context, client *http.Client, until time.Time) ([]time.Duration, error) {
	var took []time.Duration
	for now := time.Now(); now.Before(until); {
		if err := l.ask(ctx, client); err != nil {
			return took, err
		}
		answered := time.Now()
		took = append(took, answered.Sub(now))
		if l.pause > 0 {
			time.Sleep(l.pause)
			answered = time.Now()
		}
		now = answered
	}
	return took, nil
}

func (l load) ask(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, l.method, l.server.URL+l.path, bytes.NewReader(l.body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+l.token)
	if l.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s answered %s", l.method, l.path, response.Status)
	}
	return nil
}
