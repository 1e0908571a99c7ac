package access

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// forward is one port-forward to a pod. It listens nowhere, where other users of the machine could connect
// too: each connection is a stream of it.
type forward struct {
	streams httpstream.Connection
	port    int32
	// requests numbers the connections: the two streams of one have the same number.
	requests atomic.Int64
}

func (f *forward) ended() bool {
	select {
	case <-f.streams.CloseChan():
		return true
	default:
		return false
	}
}

func (f *forward) stop() { _ = f.streams.Close() }

// connect makes a connection to the port of the pod.
func (f *forward) connect(ctx context.Context) (net.Conn, error) {
	type made struct {
		conn net.Conn
		err  error
	}
	answer := make(chan made, 1)
	go func() {
		conn, err := f.open()
		answer <- made{conn, err}
	}()
	select {
	case m := <-answer:
		return m.conn, m.err
	case <-ctx.Done():
		go func() {
			if m := <-answer; m.err == nil {
				_ = m.conn.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// open creates the streams of a connection as kubectl port-forward does: one that errors of the pod come
// by, and one for the data. The library waits 30 seconds for the other end; one that does not answer
// is left for another.
func (f *forward) open() (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(f.port)))
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.FormatInt(f.requests.Add(1), 10))
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failures, err := f.streams.CreateStream(headers)
	if err != nil {
		f.stop()
		return nil, fmt.Errorf("open a stream to the pod: %w", err)
	}
	_ = failures.Close() // nothing is sent by it
	headers = headers.Clone()
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := f.streams.CreateStream(headers)
	if err != nil {
		f.stop()
		return nil, fmt.Errorf("open a stream to the pod: %w", err)
	}
	// A pipe has the deadlines that a stream has not.
	near, far := net.Pipe()
	go f.copy(far, data, failures)
	return near, nil
}

// copy brings bytes from one end to the other until one of them ends. What the pod says it failed
// with ends the port-forward: the next connection makes another one, to a pod that is ready.
func (f *forward) copy(conn net.Conn, data, failures httpstream.Stream) {
	defer f.streams.RemoveStreams(data, failures)
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		message, err := io.ReadAll(failures)
		if len(message) > 0 || err != nil {
			f.stop()
		}
	}()
	go func() {
		_, _ = io.Copy(data, conn)
		_ = data.Close()
	}()
	_, _ = io.Copy(conn, data)
	_ = conn.Close()
	_ = data.Reset() // what is not read yet would hold up the other streams
	<-failed
}

// forwardTo begins a port-forward to a pod behind e that is ready.
func (i *Installation) forwardTo(ctx context.Context, e endpoint) (*forward, error) {
	pod, port, err := i.findPod(ctx, e)
	if err != nil {
		return nil, err
	}
	dialer, err := i.podDialer(e.namespace, pod)
	if err != nil {
		return nil, err
	}
	streams, err := dialPod(ctx, dialer)
	if err != nil {
		return nil, i.notForwarded(ctx, e, pod, err)
	}
	return &forward{streams: streams, port: port}, nil
}

// dialPod is Dial with an end: the library's has none.
func dialPod(ctx context.Context, dialer httpstream.Dialer) (httpstream.Connection, error) {
	type made struct {
		streams  httpstream.Connection
		protocol string
		err      error
	}
	answer := make(chan made, 1)
	go func() {
		streams, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		answer <- made{streams, protocol, err}
	}()
	select {
	case m := <-answer:
		if m.err == nil && m.protocol != portforward.PortForwardProtocolV1Name {
			_ = m.streams.Close()
			m.err = fmt.Errorf("the API server answered with the protocol %q and not %s", m.protocol, portforward.PortForwardProtocolV1Name)
		}
		return m.streams, m.err
	case <-ctx.Done():
		go func() {
			if m := <-answer; m.err == nil {
				_ = m.streams.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// podDialer reaches a pod over WebSocket, or SPDY where the API server or a proxy on the
// way knows no other.
func (i *Installation) podDialer(namespace, pod string) (httpstream.Dialer, error) {
	url := i.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(i.config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	websocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, i.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(websocket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

func (i *Installation) notForwarded(ctx context.Context, e endpoint, pod string, err error) error {
	failed := &Error{Kind: Unreachable, Message: fmt.Sprintf("forward a port to the pod %s/%s", e.namespace, pod), cause: err}
	// What forbids it is said before the connection is another protocol, as text alone.
	if i.mayNotForward(ctx, e.namespace) || apierrors.IsForbidden(err) {
		failed.Kind, failed.cause = Credentials, nil
		failed.Message = fmt.Sprintf("you may not forward a port to the pods of namespace %s, and %s is not reachable from here", e.namespace, e.host())
		failed.Next = i.grant(ctx, right{namespace: e.namespace, role: "coffer-forward", verb: "create,get", resource: "pods/portforward"}) +
			"\nOr say where the server is: --address URL"
		return failed
	}
	failed.Next = fmt.Sprintf("Does it run? kubectl -n %s get pods -l %s", ShellWord(e.namespace), appLabel)
	return failed
}
