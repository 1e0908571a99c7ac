package access

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// pod is the other end of a port-forward: each data stream is a connection to the server at address. It
// stands in for the kubelet; test/e2e has a real one.
func pod(t *testing.T, address string) *forward {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	near, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	must(t, err)
	far, err := l.Accept()
	must(t, err)
	server, err := spdy.NewServerConnection(far, func(stream httpstream.Stream, _ <-chan struct{}) error {
		if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeData {
			go connectStream(t, stream, address)
		}
		return nil
	})
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	client, err := spdy.NewClientConnection(near)
	must(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return &forward{streams: client, port: 8443}
}

func connectStream(t *testing.T, stream httpstream.Stream, address string) {
	conn, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", address)
	if err != nil {
		_ = stream.Reset()
		return
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(stream, conn)
	_ = stream.Close()
}

// Requests go through the streams of one port-forward, many at a time, whatever their size, and by no
// address that others could connect to.
func TestForwardCarriesRequests(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	t.Cleanup(server.Close)
	f := pod(t, server.Listener.Addr().String())
	through := newTunnel(func(context.Context) (*forward, error) { return f, nil })
	t.Cleanup(through.close)
	conn, err := through.dial(t.Context(), "tcp", "coffer.coffer-system.svc:443")
	must(t, err)
	if network := conn.LocalAddr().Network(); network != "pipe" {
		t.Errorf("the connection has an address of the network %s", network)
	}
	must(t, conn.Close())

	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.DialContext = through.dial
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	failures := make(chan error)
	const requests = 4
	for range requests {
		go func() { failures <- echo(t, client, server.URL) }()
	}
	for range requests {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

func echo(t *testing.T, client *http.Client, url string) error {
	sent := make([]byte, 1<<20)
	_, _ = rand.Read(sent)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	got, err := io.ReadAll(answer.Body)
	if err == nil && !bytes.Equal(got, sent) {
		err = errors.New("the answer is another one")
	}
	return err
}

// A port-forward is used until it ends; the next connection makes another.
func TestTunnel(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	var started []*forward
	broken := errors.New("no pod is ready")
	var failure error
	through := newTunnel(func(context.Context) (*forward, error) {
		if failure != nil {
			return nil, failure
		}
		started = append(started, pod(t, server.Listener.Addr().String()))
		return started[len(started)-1], nil
	})
	dial := func() error {
		conn, err := through.dial(t.Context(), "tcp", "coffer.coffer-system.svc:443")
		if err != nil {
			return err
		}
		return conn.Close()
	}
	must(t, dial())
	must(t, dial())
	if len(started) != 1 {
		t.Fatalf("%d port-forwards for two connections", len(started))
	}
	started[0].stop()
	<-started[0].streams.CloseChan()
	failure = broken
	if err := dial(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	// What may pass is an error of dialling, which clients try again; the rest is not.
	failure = &Error{Kind: Unreachable, Message: "no pod is ready"}
	if failed, ok := errors.AsType[*net.OpError](dial()); !ok || failed.Op != "dial" || !errors.Is(failed, failure) {
		t.Errorf("got %v", failed)
	}
	for _, failure = range []error{&Error{Kind: Credentials, Message: "no token"}, context.Canceled} {
		if failed, ok := errors.AsType[*net.OpError](dial()); ok {
			t.Errorf("got %v", failed)
		}
	}
	failure = nil
	must(t, dial())
	if len(started) != 2 {
		t.Errorf("%d port-forwards after one has ended", len(started))
	}
	through.close()
	select {
	case <-started[1].streams.CloseChan():
	case <-time.After(time.Minute):
		t.Error("the port-forward goes on after the end")
	}
	if err := dial(); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
}

// The end does not wait for a port-forward that is being made, nor does what waits for that.
func TestTunnelClosesAtOnce(t *testing.T) {
	begun := make(chan struct{})
	through := newTunnel(func(ctx context.Context) (*forward, error) {
		close(begun)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	failures := make(chan error)
	dial := func() {
		_, err := through.dial(t.Context(), "tcp", "coffer.coffer-system.svc:443")
		failures <- err
	}
	go dial()
	<-begun
	go dial()
	i := &Installation{}
	i.tunnel.Store(through)
	i.mu.Lock() // a token is being asked for
	i.Close()
	i.mu.Unlock()
	for range 2 {
		select {
		case err := <-failures:
			if !errors.Is(err, errClosed) {
				t.Errorf("got %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("a connection waits on after the end")
		}
	}
}
