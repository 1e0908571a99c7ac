package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

const patience = 30 * time.Second

// startByToken is start with callers that are their tokens, since how those are checked
// is not what most tests of watches are about.
func startByToken(t *testing.T, vault *vaulttest.Env, change func(*server.Config), serve func(*httptest.Server)) *env {
	t.Helper()
	e := &env{Env: vault, log: &testkit.Output{}, metrics: prometheus.NewRegistry()}
	config := server.Config{
		Vault: vault.Engine, Authenticator: byToken{}, Registerer: e.metrics, Rate: rate.Inf, Burst: 1,
		Logger: slog.New(slog.NewJSONHandler(e.log, nil)),
	}
	if change != nil {
		change(&config)
	}
	s := httptest.NewUnstartedServer(holdToContract(t, server.New(config)))
	if serve != nil {
		serve(s)
	}
	s.Start()
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

// token is an account that may list and read what the patterns select.
func (e *env) token(name string, t *testing.T, patterns ...string) account {
	t.Helper()
	a := account{caller: vaulttest.ServiceAccount(name, "api", ""), token: name}
	e.Sync(t, a.caller.Cluster)
	for _, pattern := range patterns {
		e.Allow(t, a.caller, pattern, policy.List, policy.Read)
	}
	return a
}

// stream is a watch as it comes over the wire.
type stream struct {
	response *http.Response
	lines    *bufio.Scanner
	close    context.CancelFunc
}

// openWatch asks for a watch, whatever comes of it.
func (e *env) openWatch(t *testing.T, a account, query, lastEventID string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience) // longer than a request waits for its turn
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/v1/watch?"+query, nil)
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+a.token)
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return &stream{response, bufio.NewScanner(response.Body), cancel}
}

// next returns the id and the event that comes next; false when the stream ended.
func (s *stream) next(t *testing.T) (id, event string, ok bool) {
	t.Helper()
	var e sdk.Event
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			must(t, json.Unmarshal([]byte(value), &e))
		case "":
			if e.Kind != "" {
				return id, strings.TrimSpace(fmt.Sprintf("%s %s %d", e.Kind, e.Path, e.Version)), true
			}
		}
	}
	return "", "", false
}

// until returns the events up to the one that is wanted, and its id.
func (s *stream) until(t *testing.T, want string) (id string, events []string) {
	t.Helper()
	for {
		id, event, ok := s.next(t)
		if !ok {
			t.Fatalf("the watch ended before %q came, after %q", want, events)
		}
		if event != "position  0" {
			events = append(events, event)
		}
		if event == want {
			return id, events
		}
	}
}

// ended waits for the end of the stream.
func (s *stream) ended(t *testing.T) {
	t.Helper()
	for s.lines.Scan() {
		continue
	}
	if err := s.lines.Err(); err != nil {
		t.Errorf("the watch ended with %v", err)
	}
}

const positionEvent = "position  0"

func TestWatch(t *testing.T) {
	e := startByToken(t, vaulttest.Start(t), nil, nil)
	team, nobody := e.token("team", t, "team/**"), e.token("nobody", t)
	all := e.openWatch(t, team, "", "")
	if got := all.response.Header.Get("Content-Type"); all.response.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Errorf("status %d, content type %q", all.response.StatusCode, got)
	}
	nothing := e.openWatch(t, nobody, "", "")
	below := e.openWatch(t, team, "prefix=team/a", "")
	named := e.openWatch(t, team, "path=team%2Fb&path=team%2Fa%2Fone&path=other%2Fb", "")
	for _, s := range []*stream{all, nothing, below, named} {
		if id, event, _ := s.next(t); event != positionEvent || len(id) != changes.PositionLength {
			t.Errorf("a watch begins with %q and the id %q", event, id)
		}
	}
	e.Put(t, "team/a/one", "value-canary")
	e.Put(t, "other/b", "v")
	e.Put(t, "team/b", "v")
	must(t, e.Engine.Delete(t.Context(), e.Admin, vaulttest.Path(t, "team/a/one")))
	e.Put(t, "team/a/end", "v")
	e.Put(t, "team/b", "v")

	id, got := all.until(t, "put team/b 2")
	if want := []string{"put team/a/one 1", "put team/b 1", "delete team/a/one 1", "put team/a/end 1", "put team/b 2"}; !slices.Equal(got, want) {
		t.Errorf("who watches all got %q, want %q", got, want)
	}
	if _, got := below.until(t, "put team/a/end 1"); !slices.Equal(got, []string{"put team/a/one 1", "delete team/a/one 1", "put team/a/end 1"}) {
		t.Errorf("who watches a prefix got %q", got)
	}
	if _, got := named.until(t, "put team/b 2"); !slices.Equal(got, []string{"put team/a/one 1", "put team/b 1", "delete team/a/one 1", "put team/b 2"}) {
		t.Errorf("who watches paths got %q", got)
	}

	// Rights count when an event is delivered, and who is away goes on where it was.
	all.close()
	e.Put(t, "team/b", "v")
	e.Put(t, "other/c", "v")
	e.Allow(t, team.caller, "other/c", policy.Read)
	again := e.openWatch(t, team, "", id)
	if _, got := again.until(t, "put other/c 1"); !slices.Equal(got, []string{"policy  0", "put team/b 3", "put other/c 1"}) {
		t.Errorf("who went on got %q", got)
	}
	e.Allow(t, nobody.caller, "team/b", policy.List)
	if _, got := nothing.until(t, "policy  0"); len(got) != 1 {
		t.Errorf("who may see nothing got %q", got)
	}
	if strings.Contains(e.log.String(), "canary") {
		t.Error("the log has a value")
	}
}

func TestAWatchFromALostPosition(t *testing.T) {
	e := startByToken(t, vaulttest.Start(t), nil, nil)
	team := e.token("team", t, "**")
	other := startByToken(t, vaulttest.Start(t), nil, nil)
	elsewhere, _, _ := other.openWatch(t, other.token("team", t, "**"), "", "").next(t)
	mine, _, _ := e.openWatch(t, team, "", "").next(t)
	changed := []byte(mine)
	changed[40] ^= 1
	for name, id := range map[string]string{"another vault's": elsewhere, "a made up one": "7", "a changed one": string(changed)} {
		s := e.openWatch(t, team, "", id)
		body, err := io.ReadAll(s.response.Body)
		must(t, err)
		p := answer{s.response.StatusCode, s.response.Header, string(body)}.problem(t)
		if p.Status != http.StatusGone || p.Code != sdk.CodePositionLost {
			t.Errorf("%s: %d %s", name, p.Status, p.Code)
		}
	}
}

func TestInvalidWatches(t *testing.T) {
	e := startByToken(t, vaulttest.Start(t), nil, nil)
	team := e.token("team", t)
	for _, query := range []string{"path=..", "prefix=a//b", "path=a&paths=b", "path=" + strings.Repeat("a&path=", 64) + "a"} {
		got := e.do(t, team, http.MethodGet, "/v1/watch?"+query, "")
		if p := got.problem(t); p.Status != http.StatusBadRequest && p.Status != http.StatusUnprocessableEntity || p.Code != sdk.CodeInvalid {
			t.Errorf("%q: %d %s", query, p.Status, p.Code)
		}
	}
}

// TestWatchesAreBounded: of a caller and of all, and a watch that ended makes room.
func TestWatchesAreBounded(t *testing.T) {
	e := startByToken(t, vaulttest.Start(t), func(c *server.Config) { c.Watches = server.WatchLimits{All: 3, OfCaller: 2} }, nil)
	one, two := e.token("one", t), e.token("two", t)
	first := e.openWatch(t, one, "", "")
	e.openWatch(t, one, "", "")
	refused := func(a account) {
		t.Helper()
		got := e.do(t, a, http.MethodGet, "/v1/watch", "")
		if p := got.problem(t); p.Code != sdk.CodeRateLimited || got.header.Get("Retry-After") == "" {
			t.Errorf("%d %s, Retry-After %q", p.Status, p.Code, got.header.Get("Retry-After"))
		}
	}
	refused(one)
	e.openWatch(t, two, "", "")
	refused(two)
	first.close()
	testkit.Eventually(t, patience, func() string {
		s := e.openWatch(t, two, "", "")
		defer s.close()
		if s.response.StatusCode != http.StatusOK {
			return "a watch that ended makes no room"
		}
		return ""
	})
}

// byAccount is byToken with tokens that name the namespace and the account.
type byAccount struct{ byToken }

func (byAccount) Authenticate(_ context.Context, token string) (secret.Caller, error) {
	namespace, name, ok := strings.Cut(token, "/")
	if !ok {
		return secret.Caller{Kind: secret.KindUser, Cluster: "default", Name: token}, nil
	}
	return vaulttest.ServiceAccount(namespace, name, ""), nil
}

// TestWatchesOfANamespaceAreBounded: together, whoever of it has them; users too.
func TestWatchesOfANamespaceAreBounded(t *testing.T) {
	e := startByToken(t, vaulttest.Start(t), func(c *server.Config) {
		c.Watches, c.Authenticator = server.WatchLimits{OfNamespace: 2, OfCaller: 2}, byAccount{}
	}, nil)
	e.Sync(t, vaulttest.ServiceAccount("a", "b", "").Cluster)
	open := func(token string, want int) *stream {
		t.Helper()
		s := e.openWatch(t, account{token: token}, "", "")
		if s.response.StatusCode != want {
			t.Errorf("%s: status %d, want %d", token, s.response.StatusCode, want)
		}
		return s
	}
	open("team/one", http.StatusOK)
	last := open("team/two", http.StatusOK)
	open("team/three", http.StatusTooManyRequests)
	open("other/one", http.StatusOK)
	open("alice", http.StatusOK)
	open("bob", http.StatusOK)
	open("carol", http.StatusTooManyRequests)
	last.close()
	testkit.Eventually(t, patience, func() string {
		s := e.openWatch(t, account{token: "team/three"}, "", "")
		if s.response.StatusCode != http.StatusOK {
			return "a watch that ended makes no room"
		}
		return ""
	})
}

// TestAWatchIsChargedForItsPaths: as for as many requests.
func TestAWatchIsChargedForItsPaths(t *testing.T) {
	e := startByToken(t, vaulttest.Start(t), func(c *server.Config) { c.Rate, c.Burst = 0.001, 70 }, nil)
	team := e.token("team", t, "**")
	paths := "path=p0"
	for i := 1; i < 64; i++ {
		paths += fmt.Sprintf("&path=p%d", i)
	}
	if s := e.openWatch(t, team, paths, ""); s.response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", s.response.StatusCode)
	}
	second := e.openWatch(t, team, paths, "").response
	if got := second.Header.Get("Retry-After"); second.StatusCode != http.StatusTooManyRequests || got != "63000" { // 63 at 0.001 a second
		t.Errorf("a second one: %d, Retry-After %q", second.StatusCode, got)
	}
	if s := e.openWatch(t, team, "prefix=a", ""); s.response.StatusCode != http.StatusOK {
		t.Errorf("a prefix, for which there is still enough: status %d", s.response.StatusCode)
	}
}

// TestWatchesTakeNoTurns: who watches as much as it may still reads and writes.
func TestWatchesTakeNoTurns(t *testing.T) {
	e := startByToken(t, vaulttest.Start(t), nil, nil)
	team := e.token("team", t, "**")
	e.Put(t, "a/b", "v")
	for range 50 {
		if s := e.openWatch(t, team, "", ""); s.response.StatusCode != http.StatusOK {
			t.Fatalf("status %d", s.response.StatusCode)
		}
	}
	if got := e.do(t, team, http.MethodGet, at("/v1/secret", "a/b"), ""); got.status != http.StatusOK {
		t.Errorf("a read beside 50 watches: %d %s", got.status, got.body)
	}
}

// TestAWatchLastsBeyondTheServersTimeouts: those are for requests that end.
func TestAWatchLastsBeyondTheServersTimeouts(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			e := startByToken(t, vaulttest.Start(t), func(c *server.Config) { c.Watches.Check = timeout / 3 }, func(s *httptest.Server) {
				s.Config.ReadTimeout, s.Config.WriteTimeout = timeout, timeout
				s.Config.Protocols = new(http.Protocols)
				s.Config.Protocols.SetHTTP1(!http2)
				s.Config.Protocols.SetUnencryptedHTTP2(http2)
			})
			transport := &http.Transport{Protocols: new(http.Protocols)}
			transport.Protocols.SetHTTP1(!http2)
			transport.Protocols.SetUnencryptedHTTP2(http2)
			defer transport.CloseIdleConnections()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+"/v1/watch", nil)
			must(t, err)
			request.Header.Set("Authorization", "Bearer "+e.token("team", t, "**").token)
			response, err := transport.RoundTrip(request)
			must(t, err)
			defer func() { _ = response.Body.Close() }()
			s := &stream{response: response, lines: bufio.NewScanner(response.Body)}
			signs := 0
			for signs < 12 && s.lines.Scan() { // 1.2 s
				if s.lines.Text() == ":" {
					signs++
				}
			}
			e.Put(t, "a/b", "v")
			s.until(t, "put a/b 1")
		})
	}
}

// TestWatchesEndWithTheServer: at once, while others finish.
func TestWatchesEndWithTheServer(t *testing.T) {
	ending := make(chan struct{})
	e := startByToken(t, vaulttest.Start(t), func(c *server.Config) { c.Ending = ending }, nil)
	s := e.openWatch(t, e.token("team", t), "", "")
	s.next(t)
	close(ending)
	s.ended(t)
}

// flood is a vault in which very much happens.
type flood struct {
	*vault.Engine
	ended chan error
}

func (v flood) Watch(ctx context.Context, _ secret.Caller, _ vault.Scope, _ changes.Position, handle vault.WatchHandler) error {
	events := make([]vault.Event, 10_000)
	for i := range events {
		events[i] = vault.Event{Kind: changes.Put, Version: int64(i)}
	}
	for {
		if err := handle(ctx, events, "c1.x"); err != nil {
			v.ended <- err
			return err
		}
	}
}

// TestASlowReaderIsCutOff: it holds no more than what fits into the connection, and
// not for long.
func TestASlowReaderIsCutOff(t *testing.T) {
	ended := make(chan error, 1)
	e := startByToken(t, vaulttest.Start(t), func(c *server.Config) {
		c.Vault, c.Watches.Patience = flood{c.Vault.(*vault.Engine), ended}, 100*time.Millisecond
	}, nil)
	address, err := url.Parse(e.url)
	must(t, err)
	var dialer net.Dialer
	connection, err := dialer.DialContext(t.Context(), "tcp", address.Host)
	must(t, err)
	defer func() { _ = connection.Close() }()
	_, err = io.WriteString(connection, "GET /v1/watch HTTP/1.1\r\nHost: coffer\r\nAuthorization: Bearer slow\r\n\r\n")
	must(t, err)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the watch of a client that does not read goes on")
	}
}

// replica is a server at an address that stays when it is replaced.
type replica struct {
	address string
	ending  chan struct{}
	server  *http.Server
	served  chan struct{}
}

// serve begins to serve at the address; any free one when it is empty.
func serve(t *testing.T, vault server.Vault, authenticator server.Authenticator, address string) *replica {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", address)
	must(t, err)
	r := &replica{address: listener.Addr().String(), ending: make(chan struct{}), served: make(chan struct{})}
	r.server = &http.Server{ReadHeaderTimeout: patience, Handler: server.New(server.Config{
		Vault: vault, Authenticator: authenticator, Logger: slog.New(slog.DiscardHandler), Ending: r.ending,
	})}
	go func() {
		defer close(r.served)
		_ = r.server.Serve(listener)
	}()
	return r
}

// stop ends the server in order, or breaks it off.
func (r *replica) stop(inOrder bool) {
	if inOrder {
		close(r.ending)
		_ = r.server.Shutdown(context.Background())
	}
	_ = r.server.Close()
	<-r.served
}

// TestTheSDKWatchesThroughRestarts: of the server, in order and killed, onto other
// replicas. No version is left out.
func TestTheSDKWatchesThroughRestarts(t *testing.T) {
	vault := vaulttest.Start(t)
	e := &env{Env: vault}
	team := e.token("team", t, "a/**")
	r := serve(t, vault.Engine, byToken{}, "")
	client, err := sdk.New(sdk.Config{Address: "http://" + r.address, Token: team.token})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	versions, ended := make(chan int64), make(chan error, 1)
	go func() {
		for event, err := range client.Watch(ctx, sdk.WatchOptions{Prefix: "a"}) {
			if err != nil {
				ended <- err
				return
			}
			select {
			case versions <- event.Version:
			case <-ctx.Done():
				return
			}
		}
	}()
	var last int64
	until := func(want int64) {
		t.Helper()
		for {
			select {
			case version := <-versions:
				if version > last+1 {
					t.Fatalf("version %d came after %d", version, last)
				}
				last = max(last, version)
				if version == want {
					return
				}
			case err := <-ended:
				t.Fatalf("the watch ended: %v", err)
			case <-ctx.Done():
				t.Fatalf("version %d did not come", want)
			}
		}
	}
	until(0) // the first position
	for i := range int64(4) {
		e.Put(t, "a/b", "v")
		until(2*i + 1)
		r.stop(i%2 == 0)
		e.Put(t, "a/b", "v")
		r = serve(t, vault.Open(t), byToken{}, r.address)
		until(2*i + 2)
	}
	cancel()
	r.stop(true)
}

// TestTheWatchOfADeletedAccountEnds as its other requests do.
func TestTheWatchOfADeletedAccountEnds(t *testing.T) {
	e := start(t, vaulttest.Start(t), func(c *server.Config) { c.Watches.Check = time.Second })
	api := e.account(t, "production")
	e.Allow(t, api.caller, "**", policy.Read)
	s := e.openWatch(t, api, "", "")
	s.next(t)
	must(t, e.kube.Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: api.caller.Namespace, Name: api.caller.Name}}))
	s.ended(t)
	if again := e.openWatch(t, api, "", ""); again.response.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", again.response.StatusCode)
	}
}
