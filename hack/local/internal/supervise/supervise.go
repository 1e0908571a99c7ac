// Package supervise runs the programs of the local environment in the order they need each other, and lets the
// commands that come later stop and start single ones (Redis, say, to see what Coffer does without it).
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// Service is a program to run.
type Service struct {
	Name string
	// Command makes the child process, anew for each start.
	Command func() (*exec.Cmd, error)
	// Ready returns nil once the service does its work.
	Ready func(context.Context) error
	// After names the services that must be ready first.
	After []string
	// Manual services are started only by Start.
	Manual bool
	// Disposable services are killed when all ends: nothing of them is worth an orderly stop.
	Disposable bool
	// Stop is the signal that ends it in order.
	Stop syscall.Signal
}

// readyWithin is the time a service has to become ready, on a machine that is busy with others.
const readyWithin = 3 * time.Minute

// State of a service.
type State string

// The states: a service waits for what it needs, starts, and runs once it is ready; it is stopped by request, and has
// failed when it did not start or ended by itself.
const (
	Waiting  State = "waiting"
	Starting State = "starting"
	Running  State = "running"
	Stopped  State = "stopped"
	Failed   State = "failed"
)

// Status is what is told of a service.
type Status struct {
	Name    string `json:"name"`
	State   State  `json:"state"`
	Message string `json:"message,omitempty"`
}

// Supervisor runs services.
type Supervisor struct {
	dir    string
	logger *slog.Logger
	units  []*unit
}

type unit struct {
	Service
	ready chan struct{} // closed at the first readiness

	mu   sync.Mutex // held while starting or stopping
	proc *process.Process

	statusMu sync.Mutex
	status   Status
}

// New makes a supervisor that keeps logs and process ids in dir.
func New(dir string, logger *slog.Logger, services []Service) *Supervisor {
	s := &Supervisor{dir: dir, logger: logger}
	for _, service := range services {
		u := &unit{Service: service, ready: make(chan struct{}), status: Status{Name: service.Name, State: Waiting}}
		if service.Manual {
			u.status.State = Stopped
		}
		s.units = append(s.units, u)
	}
	return s
}

// Run starts all services and returns when ctx ends and they have stopped. A service that fails stays down: those that
// need it wait, and the others go on, so that one can look around.
func (s *Supervisor) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, u := range s.units {
		if u.Manual {
			continue
		}
		wg.Go(func() {
			if !s.awaitNeeds(ctx, u) {
				return
			}
			if err := s.start(ctx, u); err != nil {
				s.logger.ErrorContext(ctx, "a service did not start", "service", u.Name, "error", err)
				return
			}
			close(u.ready)
		})
	}
	<-ctx.Done()
	wg.Wait()
	return s.stopAll()
}

// awaitNeeds reports whether everything u needs is ready; it is not when ctx ends.
func (s *Supervisor) awaitNeeds(ctx context.Context, u *unit) bool {
	for _, name := range u.After {
		need, err := s.find(name)
		if err != nil {
			u.set(Failed, err.Error())
			return false
		}
		select {
		case <-need.ready:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (s *Supervisor) start(ctx context.Context, u *unit) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.running() {
		return nil
	}
	u.set(Starting, "")
	if err := s.launch(ctx, u); err != nil {
		u.set(Failed, err.Error())
		return err
	}
	u.set(Running, "")
	go s.watch(u, u.proc)
	return nil
}

func (s *Supervisor) launch(ctx context.Context, u *unit) error {
	cmd, err := u.Command()
	if err != nil {
		return err
	}
	if u.proc, err = process.Start(cmd, s.dir, u.Name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return u.proc.AwaitReady(ctx, u.Ready)
}

// watch notes when a running service ends by itself.
func (s *Supervisor) watch(u *unit, proc *process.Process) {
	<-proc.Done()
	u.statusMu.Lock()
	defer u.statusMu.Unlock()
	if u.status.State == Running {
		u.status.State, u.status.Message = Failed, "it ended:\n"+proc.LogTail()
		s.logger.Error("a service ended by itself", "service", u.Name)
	}
}

// Start starts a service that is down, and waits until it is ready.
func (s *Supervisor) Start(ctx context.Context, name string) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	return s.start(ctx, u)
}

// Stop ends a service: in order, or at once as a crash would.
func (s *Supervisor) Stop(ctx context.Context, name string, crash bool) error {
	u, err := s.find(name)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.running() {
		return nil
	}
	u.set(Stopped, "")
	if crash {
		return u.proc.Kill()
	}
	return u.proc.Stop(ctx, u.Service.Stop)
}

// stopAll stops what runs, the last started first.
func (s *Supervisor) stopAll() error {
	var errs []error
	for _, u := range slices.Backward(s.units) {
		errs = append(errs, s.Stop(context.Background(), u.Name, u.Disposable))
	}
	return errors.Join(errs...)
}

// Status tells of all services.
func (s *Supervisor) Status() []Status {
	all := make([]Status, 0, len(s.units))
	for _, u := range s.units {
		u.statusMu.Lock()
		all = append(all, u.status)
		u.statusMu.Unlock()
	}
	return all
}

var errUnknown = errors.New("no such service")

func (s *Supervisor) find(name string) (*unit, error) {
	for _, u := range s.units {
		if u.Name == name {
			return u, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", errUnknown, name)
}

func (u *unit) set(state State, message string) {
	u.statusMu.Lock()
	defer u.statusMu.Unlock()
	u.status.State, u.status.Message = state, message
}

func (u *unit) running() bool {
	if u.proc == nil {
		return false
	}
	select {
	case <-u.proc.Done():
		return false
	default:
		return true
	}
}
