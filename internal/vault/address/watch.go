package address

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"
)

// lookEvery bounds how often the files are read for a question about change. The
// kubelet itself takes up to a minute to bring a changed Secret into a pod.
const lookEvery = time.Second

// Watch knows when a Source changed. It is safe for concurrent use.
type Watch struct {
	source Source
	accept func(Address) error
	logger *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	last    Address // the last that could be read and was accepted
	print   [sha256.Size]byte
	looked  time.Time
	failing bool
}

// NewWatch reads source for the first time. accept says whether an address makes
// sense: one that does not is logged, and the last good one stays.
func NewWatch(source Source, accept func(Address) error, logger *slog.Logger) (*Watch, error) {
	if logger == nil {
		logger = slog.Default()
	}
	w := &Watch{source: source, accept: accept, logger: logger, now: time.Now}
	a, err := w.read()
	if err != nil {
		return nil, err
	}
	w.last, w.print, w.looked = a, a.fingerprint(), w.now()
	return w, nil
}

// Changed reports that the address is another since it was last asked so. The files
// are read once a second at most; callers that come together do not wait for each
// other, and one of them is told.
func (w *Watch) Changed(ctx context.Context) bool {
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	if w.now().Sub(w.looked) < lookEvery {
		return false
	}
	return w.look(ctx)
}

// Current is the address that holds now. Files that cannot be read, as in the middle
// of a change, leave the last one in force. It does not take a change away from
// Changed.
func (w *Watch) Current(ctx context.Context) Address {
	a, err := w.read()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed(ctx, err) {
		return w.last
	}
	return a
}

// Fingerprint tells whether the address that Changed knows of is still the same.
func (w *Watch) Fingerprint() [sha256.Size]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.print
}

func (w *Watch) look(ctx context.Context) bool {
	a, err := w.read()
	w.looked = w.now()
	if w.failed(ctx, err) {
		return false
	}
	w.last = a
	seen := a.fingerprint()
	changed := seen != w.print
	w.print = seen
	return changed
}

func (w *Watch) read() (Address, error) {
	a, err := w.source.Read()
	if err != nil {
		return Address{}, err
	}
	return a, w.accept(a)
}

// failed logs the beginning and the end of trouble with the files.
func (w *Watch) failed(ctx context.Context, err error) bool {
	if err != nil && !w.failing {
		w.logger.WarnContext(ctx, "an address or its credentials cannot be read; the last ones stay in force", "error", err)
	}
	if err == nil && w.failing {
		w.logger.InfoContext(ctx, "an address and its credentials can be read again")
	}
	w.failing = err != nil
	return w.failing
}
