package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/sdk"
)

func secretURL() string { return "/v1/secret?path=" + url.QueryEscape(path) }

func (e *environment) readLoad(token string) load {
	return load{
		server: e.api, method: http.MethodGet, path: secretURL(), token: token, connections: connections, spent: e.processorTime,
	}
}

// reads is audited reads over HTTPS, 32 connections, and a handler that answers the same bytes.
func (e *environment) reads() figure {
	return figure{"audited reads over HTTPS", "/s", ">= 0.2", func(ctx context.Context, d time.Duration) (float64, float64, error) {
		ours, floor, err := e.readRound(ctx, d)
		return ours.perSecond, floor.perSecond, err
	}}
}

// readTime is the processor time of the same.
func (e *environment) readTime() figure {
	return figure{"processor time of a read", "µs", "", func(ctx context.Context, d time.Duration) (float64, float64, error) {
		ours, floor, err := e.readRound(ctx, d)
		return microseconds(ours.processor.all()), microseconds(floor.processor.all()), err
	}}
}

func microseconds(d time.Duration) float64 { return d.Seconds() * 1e6 }

func (e *environment) readRound(ctx context.Context, d time.Duration) (ours, floor loaded, err error) {
	answer, err := e.answer(ctx)
	if err != nil {
		return ours, floor, err
	}
	bare := serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	defer bare.Close()
	ours, err = e.profile(ctx, "reads", func() (loaded, error) { return e.readLoad("storm").run(ctx, d) })
	if err != nil {
		return ours, floor, err
	}
	least := e.readLoad("storm")
	least.server = bare
	floor, err = least.run(ctx, d)
	return ours, floor, err
}

// answer is what a read gets.
func (e *environment) answer(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.api.URL+secretURL(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer storm")
	response, err := e.api.Client().Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	return io.ReadAll(response.Body)
}

// writes is new versions over HTTPS, each of a path of its connection's own as pgbench's
// clients insert rows of their own, and pgbench on the same server.
func (e *environment) writes() figure {
	return figure{"writes over HTTPS", "/s", ">= 0.2", func(ctx context.Context, d time.Duration) (float64, float64, error) {
		ours, floor, err := e.writeRound(ctx, d)
		return ours.perSecond, floor.perSecond, err
	}}
}

// writeTime is the processor time of the same.
func (e *environment) writeTime() figure {
	return figure{"processor time of a write", "µs", "", func(ctx context.Context, d time.Duration) (float64, float64, error) {
		ours, floor, err := e.writeRound(ctx, d)
		return microseconds(ours.processor.all()), microseconds(floor.processor.all()), err
	}}
}

func (e *environment) writeRound(ctx context.Context, d time.Duration) (ours, floor loaded, err error) {
	body, err := json.Marshal(sdk.PutRequest{Value: e.value})
	if err != nil {
		return ours, floor, err
	}
	writes := load{
		server: e.spreading(e.api), method: http.MethodPut, path: "/v1/secret", token: "storm", body: body,
		connections: connections, spent: e.processorTime,
	}
	ours, err = e.profile(ctx, "writes", func() (loaded, error) { return writes.run(ctx, d) })
	if err != nil {
		return ours, floor, err
	}
	floor, err = e.pgbench(ctx, d)
	return ours, floor, err
}

// spreading is a server's API with a path for each connection put into requests.
func (e *environment) spreading(api *httptest.Server) *httptest.Server {
	spread := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawQuery = "path=bench/" + r.RemoteAddr[len(r.RemoteAddr)-5:]
		api.Config.Handler.ServeHTTP(w, r)
	}))
	e.closers = append(e.closers, func() error { spread.Close(); return nil })
	return spread
}

var (
	transactionRate = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	transactions    = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
)

// pgbench inserts a row a transaction, on as many connections.
func (e *environment) pgbench(ctx context.Context, d time.Duration) (loaded, error) {
	bin, err := postgres.BinDir()
	if err != nil {
		return loaded{}, err
	}
	script := filepath.Join(e.dir, "insert.sql")
	if err := os.WriteFile(script, []byte("INSERT INTO pgbench_floor (box) VALUES (decode(repeat('00', 1024), 'hex'));\n"), 0o600); err != nil {
		return loaded{}, err
	}
	setup := exec.CommandContext(ctx, filepath.Join(bin, "psql"), "-q", "-d", e.dsn, "-c",
		"CREATE TABLE IF NOT EXISTS pgbench_floor (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, box bytea NOT NULL)")
	setup.Env = append(os.Environ(), "PGOPTIONS=-c client_min_messages=error")
	if out, err := setup.CombinedOutput(); err != nil {
		return loaded{}, fmt.Errorf("make pgbench's table: %w: %s", err, out)
	}
	n := strconv.Itoa(connections)
	bench := exec.CommandContext(ctx, filepath.Join(bin, "pgbench"), "-n", "-M", "prepared", "-c", n, "-j", "2",
		"-T", strconv.Itoa(max(1, int(d.Seconds()))), "-f", script, e.dsn)
	before, err := e.processorTime()
	if err != nil {
		return loaded{}, err
	}
	out, err := bench.CombinedOutput()
	if err != nil {
		return loaded{}, fmt.Errorf("pgbench: %w: %s; it comes with Debian's postgresql", err, out)
	}
	after, err := e.processorTime()
	if err != nil {
		return loaded{}, err
	}
	found, count := transactionRate.FindSubmatch(out), transactions.FindSubmatch(out)
	if found == nil || count == nil {
		return loaded{}, fmt.Errorf("pgbench printed no rate: %s", out)
	}
	perSecond, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		return loaded{}, err
	}
	total, err := strconv.Atoi(string(count[1]))
	return loaded{perSecond: perSecond, processor: after.since(before).each(total)}, err
}

// neighbours are the figures of one caller's reads while another caller storms.
func (e *environment) neighbours() []figure {
	var figures []figure
	for _, writes := range []bool{false, true} {
		of := pick(writes, "writes", "reads")
		figures = append(figures,
			e.neighbour("p99 beside a storm of "+of, writes, func(context.Context) (server, elsewhere *httptest.Server, err error) { return e.api, nil, nil }),
			e.neighbour("the same, to one elsewhere", writes, func(ctx context.Context) (server, elsewhere *httptest.Server, err error) {
				elsewhere, err = e.another(ctx)
				return e.api, elsewhere, err
			}))
	}
	limited := e.neighbour("p99 beside a storm, usual rate limit", false, func(context.Context) (server, elsewhere *httptest.Server, err error) { return e.limited, nil, nil })
	return append(figures, limited)
}

// neighbour is the 99th percentile of one caller's reads, one at a time, beside another caller's storm on the same server. The
// floor is without a storm, or with the same storm on a server, vault and database of its own: the two then share
// nothing but the machine.
func (e *environment) neighbour(name string, writes bool, servers func(context.Context) (server, elsewhere *httptest.Server, err error)) figure {
	return figure{name: name, unit: "ms", goal: "", measure: func(ctx context.Context, d time.Duration) (float64, float64, error) {
		server, elsewhere, err := servers(ctx)
		if err != nil {
			return 0, 0, err
		}
		reads := e.readLoad("neighbour")
		reads.server, reads.connections = server, 1
		if server == e.limited {
			reads.pause = neighbourPause
		}
		beside, err := e.beside(ctx, d, reads, writes, server)
		if err != nil {
			return 0, 0, err
		}
		floor, err := e.beside(ctx, d, reads, writes, elsewhere)
		return milliseconds(beside.p99()), milliseconds(floor.p99()), err
	}}
}

// neighbourPause keeps a caller below the usual rate limit.
const neighbourPause = 25 * time.Millisecond

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// beside runs a load while another caller storms the server; nobody does when there is none.
func (e *environment) beside(ctx context.Context, d time.Duration, reads load, writes bool, stormed *httptest.Server) (loaded, error) {
	if stormed == nil {
		return reads.run(ctx, d)
	}
	storm := e.readLoad("storm")
	storm.server, storm.connections = stormed, 200
	if writes {
		body, err := json.Marshal(sdk.PutRequest{Value: e.value})
		if err != nil {
			return loaded{}, err
		}
		storm.server, storm.method, storm.path, storm.body = e.spreading(stormed), http.MethodPut, "/v1/secret", body
	}
	stormy, stop := context.WithCancel(ctx)
	began, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		storm.storm(stormy, began)
	}()
	<-began
	ours, err := reads.run(ctx, d)
	stop()
	<-stopped
	return ours, err
}

func pick[T any](condition bool, a, b T) T {
	if condition {
		return a
	}
	return b
}

// storm asks until ctx ends, whatever the answers are. It closes began once all of its
// connections stand.
func (l load) storm(ctx context.Context, began chan<- struct{}) {
	transport := l.server.Client().Transport.(*http.Transport).Clone()
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = l.connections, l.connections
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	_ = l.warm(ctx, client)
	close(began)
	done := make(chan struct{})
	for range l.connections {
		go func() {
			for ctx.Err() == nil {
				_ = l.ask(ctx, client)
			}
			done <- struct{}{}
		}()
	}
	for range l.connections {
		<-done
	}
}
