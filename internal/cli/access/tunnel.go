package access

import (
	"context"
	"errors"
	"net"
)

// tunnel connects to a server through a port-forward, and makes a new one, to whichever
// pod is ready then, when the last one has ended.
type tunnel struct {
	start func(context.Context) (*forward, error)
	// life ends with close, and with it the port-forward, also one that is being made.
	life context.Context //nolint:containedctx // of the tunnel, as that of a call is of the call
	end  context.CancelFunc

	// turn holds one word: who has it may look at current and replace it. Unlike a lock it can be waited
	// for with a limit.
	turn    chan struct{}
	current *forward
}

func newTunnel(start func(context.Context) (*forward, error)) *tunnel {
	t := &tunnel{start: start, turn: make(chan struct{}, 1)}
	t.life, t.end = context.WithCancel(context.Background())
	return t
}

var errClosed = errors.New("the connection to the installation is closed")

// dial is for an http.Transport; whatever it asks for it gets the server.
func (t *tunnel) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	f, err := t.forward(ctx)
	if err != nil {
		return nil, asDial(err)
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return nil, asDial(err)
	}
	return conn, nil
}

// asDial has an error that may pass be one of dialling, as those of package net are, after which clients try again.
func asDial(err error) error {
	failed, known := errors.AsType[*Error](err)
	if known && failed.Kind != Unreachable || errors.Is(err, errClosed) || errors.Is(err, context.Canceled) {
		return err
	}
	return &net.OpError{Op: "dial", Net: "port-forward", Err: err}
}

// forward returns a port-forward that stands, as far as is known.
func (t *tunnel) forward(ctx context.Context) (*forward, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.life, func() { cancel(errClosed) })()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if t.life.Err() != nil {
		return nil, errClosed
	}
	if t.current != nil && !t.current.ended() {
		return t.current, nil
	}
	f, err := t.start(ctx)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(t.life, f.stop) // at once when it is over
	t.current = f
	return f, nil
}

// close ends the port-forward, and waits for nothing.
func (t *tunnel) close() { t.end() }
