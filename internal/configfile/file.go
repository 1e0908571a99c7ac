// Package configfile keeps what a mounted file says, also when that changes. The file is read by name each time, and never
// watched: Kubernetes swaps a mounted folder by a symbolic link, and a watch would stay with the old one.
package configfile

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

// lookEvery bounds how often a file is read. The kubelet itself takes up to a minute to bring a changed ConfigMap into a pod.
const lookEvery = time.Second

// Options says which file it is.
type Options[T any] struct {
	// File is its name.
	File string
	// What it is, for messages, such as "the issuers of tokens (--oidc-config)".
	What string
	// Parse reads the content. before is what is in use, the zero value at first. An error says where it is wrong and what to write.
	Parse func(content []byte, before T) (T, error)
	// Logger hears of a file that cannot be used. It is slog.Default when nil.
	Logger *slog.Logger
	// Clock is the real one when nil.
	Clock clock.PassiveClock
}

// File is what a file says. It is safe for concurrent use.
type File[T any] struct {
	options Options[T]
	now     atomic.Pointer[T]

	mu      sync.Mutex        // of looking at the file
	sum     [sha256.Size]byte // of what is in use
	looked  time.Time
	failing bool
}

// Open reads the file for the first time. Its error says what is wrong with it.
func Open[T any](o Options[T]) (*File[T], error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	f := &File[T]{options: o, looked: o.Clock.Now()}
	f.now.Store(new(T))
	if _, err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// Get is what the file says, or said before it could not be used any more. Callers that come together do not wait for each other.
func (f *File[T]) Get(ctx context.Context) T {
	f.look(ctx)
	return f.Last()
}

// Last is as Get, without a look at the file.
func (f *File[T]) Last() T { return *f.now.Load() }

// look takes up a changed file. One that cannot be used changes nothing, and is logged once.
func (f *File[T]) look(ctx context.Context) {
	if !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	if f.options.Clock.Since(f.looked) < lookEvery {
		return
	}
	f.looked = f.options.Clock.Now()
	changed, err := f.read()
	switch {
	case err != nil && !f.failing:
		f.options.Logger.ErrorContext(ctx, "a configuration file cannot be used, and what it said before stays in use", "error", err)
	case err == nil && (changed || f.failing):
		f.options.Logger.InfoContext(ctx, "took up a configuration file", "file", f.options.File, "of", f.options.What)
	}
	f.failing = err != nil
}

func (f *File[T]) read() (changed bool, err error) {
	content, err := os.ReadFile(f.options.File)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", f.options.What, err)
	}
	sum := sha256.Sum256(content)
	if sum == f.sum {
		return false, nil
	}
	parsed, err := f.options.Parse(content, f.Last())
	if err != nil {
		return false, fmt.Errorf("read %s: %s: %w", f.options.What, f.options.File, err)
	}
	f.now.Store(&parsed)
	f.sum = sum
	return true, nil
}
