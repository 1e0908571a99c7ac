//go:build failpoints

package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The commands of a worker under load, each a line of its standard input. It answers each with a line. When its input
// ends, so does it.
const (
	// pauseLoad lets the clients end what is under way.
	pauseLoad = "pause"
	goOnLoad  = "go on"
	// countUnannounced asks how many changes Redis could not be told of so far.
	countUnannounced = "unannounced"
)

const (
	// pace is how often a client begins something: the oracle has to follow it all.
	pace = 10 * time.Millisecond
	// tryAgainAfter is the wait of a client whose operation failed.
	tryAgainAfter = 50 * time.Millisecond
)

// load is clients that work on, whatever fails, and a follower of the change feed.
type load struct {
	workers []*worker
	flow    []string
	metrics prometheus.Gatherer
	// turns is held for reading by a client that does something, and for writing during a pause.
	turns sync.RWMutex
}

func (l *load) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, end := context.WithCancel(ctx)
	defer end()
	obeyed := make(chan error, 1)
	go func() { // not of the group: it may wait for input for ever
		defer end()
		obeyed <- l.obey(os.Stdin, os.Stdout)
	}()
	group.Go(func() error { return l.follow(ctx) })
	for _, w := range l.workers {
		group.Go(func() error { return l.client(ctx, w) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return <-obeyed
}

// obey answers commands until there are no more.
func (l *load) obey(in io.Reader, out io.Writer) error {
	paused := false
	defer func() {
		if paused {
			l.turns.Unlock()
		}
	}()
	commands := bufio.NewScanner(in)
	for commands.Scan() {
		answer := "done"
		switch command := commands.Text(); {
		case command == pauseLoad && !paused:
			l.turns.Lock()
			paused = true
		case command == goOnLoad && paused:
			l.turns.Unlock()
			paused = false
		case command == countUnannounced:
			n, err := unannounced(l.metrics)
			if err != nil {
				return err
			}
			answer = fmt.Sprint(n)
		default:
			return fmt.Errorf("no command %q now", command)
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return commands.Err()
}

// client works until ctx ends; what is under way then is not cut off.
func (l *load) client(ctx context.Context, w *worker) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	insist := func(work context.Context, e event) (event, error) { return w.insist(ctx, work, e) }
	for ctx.Err() == nil {
		l.turns.RLock()
		err := w.round(context.WithoutCancel(ctx), l.flow, insist)
		l.turns.RUnlock()
		if err != nil && ctx.Err() == nil {
			return err
		}
		<-tick.C
	}
	return nil
}

// insist does what e says until the vault answers: a write is sent again with its idempotency key; anything else that
// failed may have taken effect or not, so the path is read then, as somebody would. It gives up when ctx ends.
func (w *worker) insist(ctx, work context.Context, e event) (event, error) {
	for {
		did, err := w.step(work, e)
		if !errors.Is(err, secret.ErrUnavailable) {
			return did, err
		}
		select {
		case <-ctx.Done():
			return did, ctx.Err()
		case <-time.After(tryAgainAfter):
		}
		if e = (event{Op: "read", Path: did.Path}); did.writes() {
			e = event{Op: did.Op, Path: did.Path, Key: did.Key, Value: did.Value, Again: true}
		}
	}
}

// follow notes every change that it hears of.
func (l *load) follow(ctx context.Context) error {
	w := l.workers[0]
	return w.engine.Follow(ctx, func(_ context.Context, batch []changes.Change) error {
		for _, change := range batch {
			if err := (event{Op: heard, Run: w.run, Version: change.Position}).appendTo(w.log); err != nil {
				return err
			}
		}
		return nil
	})
}

// unannounced reads the engine's metric, which is not there before the first announcement.
func unannounced(metrics prometheus.Gatherer) (int64, error) {
	families, err := metrics.Gather()
	if err != nil {
		return 0, err
	}
	for _, family := range families {
		if family.GetName() != "coffer_engine_announcements_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetValue() == "failed" {
					return int64(metric.GetCounter().GetValue()), nil
				}
			}
		}
	}
	return 0, nil
}
