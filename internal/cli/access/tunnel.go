package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// tunnel connects to a server through a port-forward, and makes a new one, to whichever
// pod is ready then, when the last one has ended.
type tunnel struct {
	start func(context.Context) (*forward, error)

	mu      sync.Mutex
	current *forward
	closed  bool
}

// forward is one port-forward.
type forward struct {
	// address listens on loopback.
	address string
	// done is closed when it has ended.
	done <-chan struct{}
	stop func()
}

func (f *forward) ended() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

var errClosed = errors.New("the connection to the installation is closed")

// dial is for an http.Transport; whatever it asks for it gets the server.
func (t *tunnel) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	f, err := t.forward(ctx)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", f.address)
}

// forward returns a port-forward that stands, as far as is known.
func (t *tunnel) forward(ctx context.Context) (*forward, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	if t.current != nil && !t.current.ended() {
		return t.current, nil
	}
	f, err := t.start(ctx)
	if err != nil {
		return nil, err
	}
	t.current = f
	return f, nil
}

func (t *tunnel) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.current != nil {
		t.current.stop()
		<-t.current.done
	}
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
	// It outlives the call that began it, and what it would log is in the errors of calls.
	life, stop := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), logr.Discard()))
	ready, done := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(
		life, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, ready, io.Discard, io.Discard)
	if err != nil {
		stop()
		return nil, err
	}
	var failure error
	go func() {
		defer close(done)
		failure = forwarder.ForwardPorts()
	}()
	select {
	case <-ready:
	case <-done:
		stop()
		return nil, i.notForwarded(ctx, e, pod, failure)
	case <-ctx.Done():
		stop()
		return nil, i.notForwarded(ctx, e, pod, context.Cause(ctx))
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		stop()
		return nil, err
	}
	return &forward{address: fmt.Sprintf("127.0.0.1:%d", ports[0].Local), done: done, stop: stop}, nil
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
