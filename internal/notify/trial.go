package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Admitter says who may send tests. *vault.Engine implements it.
type Admitter interface {
	AdmitNotificationTest(ctx context.Context, caller secret.Caller) (notification.Event, error)
}

// Tester sends tests to the sinks.
type Tester struct {
	Vault Admitter
	// Notifier is nil when there are no notifications.
	Notifier *Notifier
}

// Test sends an event to the sink of that name, or to all when it is empty, whatever they are told of otherwise, and says how each of
// them took it. It is not tried again.
//
// Errors: those of Engine.AdmitNotificationTest, secret.ErrInvalid (there is no such sink, or none).
func (t Tester) Test(ctx context.Context, caller secret.Caller, sink string) ([]notification.Answer, error) {
	event, err := t.Vault.AdmitNotificationTest(ctx, caller)
	if err != nil {
		return nil, err
	}
	if t.Notifier == nil {
		return nil, fmt.Errorf("%w: there are no notifications; start the manager with --notifications-config", secret.ErrInvalid)
	}
	return t.Notifier.test(ctx, &event, sink)
}

func (n *Notifier) test(ctx context.Context, e *notification.Event, name string) ([]notification.Answer, error) {
	sinks, err := n.Config.Get(ctx).named(name)
	if err != nil {
		return nil, err
	}
	answers := make([]notification.Answer, len(sinks))
	var wait sync.WaitGroup
	for i, s := range sinks {
		wait.Go(func() {
			answers[i] = notification.Answer{Sink: s.name, Kind: s.config.Kind, Delivered: true}
			if err := s.deliver(ctx, e, time.Now()); err != nil {
				answers[i].Delivered, answers[i].Detail = false, err.Error()
			}
		})
	}
	wait.Wait()
	return answers, nil
}

// named is the sink of that name, or all when it is empty.
func (c *Config) named(name string) ([]*sink, error) {
	if len(c.sinks) == 0 {
		return nil, fmt.Errorf("%w: the file of --notifications-config names no sink", secret.ErrInvalid)
	}
	if name == "" {
		return c.sinks, nil
	}
	if s := c.sink(name); s != nil {
		return []*sink{s}, nil
	}
	var names []string
	for _, s := range c.sinks {
		names = append(names, s.name)
	}
	return nil, fmt.Errorf("%w: %w; there are %s", secret.ErrInvalid, errNoSink, strings.Join(names, ", "))
}

var errNoSink = errors.New("there is no such sink")
