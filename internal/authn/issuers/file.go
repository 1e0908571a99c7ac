package issuers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// lookEvery bounds how often the file is read. The kubelet itself takes up to a minute to
// bring a changed ConfigMap into a pod.
const lookEvery = time.Second

// Options says which issuers there are.
type Options struct {
	// File names them; see docs/guides/identity.md.
	File string
	// Audience is that of tokens of issuers for which the file says none.
	Audience string
	// Logger hears of a file that cannot be used, and at the level debug of tokens that are
	// refused. It is slog.Default when nil.
	Logger *slog.Logger
	// Registerer takes the metrics; none when nil.
	Registerer prometheus.Registerer
	// Clock is the real one when nil.
	Clock clock.PassiveClock
}

// File knows the issuers that a file names, also when that changes. It is read by name
// each time, and never watched: Kubernetes swaps a mounted folder by a symbolic link, and
// a watch would stay with the old one. It is safe for concurrent use.
type File struct {
	options Options
	metrics metrics
	now     atomic.Pointer[map[string]*Issuer] // by URL

	mu      sync.Mutex        // of looking at the file
	sum     [sha256.Size]byte // of what the issuers are from
	looked  time.Time
	failing bool
}

// Open reads the file for the first time. Its error says what is wrong with it.
func Open(o Options) (*File, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	f := &File{options: o, metrics: newMetrics(o.Registerer), looked: o.Clock.Now()}
	f.now.Store(&map[string]*Issuer{})
	if _, err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// For returns the issuer that the token says it is of, nil when the file names none such.
func (f *File) For(ctx context.Context, token string) *Issuer {
	f.look(ctx)
	return (*f.now.Load())[issuerOf(token)]
}

// Owns reports whether a user or a group of that name is one of an issuer: nobody else is
// to have it.
func (f *File) Owns(user string, groups []string) bool {
	for _, issuer := range *f.now.Load() {
		mappings := issuer.config.ClaimMappings
		if strings.HasPrefix(user, mappings.Username.Prefix) {
			return true
		}
		for _, group := range groups {
			if mappings.Groups != nil && strings.HasPrefix(group, mappings.Groups.Prefix) {
				return true
			}
		}
	}
	return false
}

// look takes up a changed file. One that cannot be used changes nothing, and is logged
// once. Callers that come together do not wait for each other.
func (f *File) look(ctx context.Context) {
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
		f.options.Logger.ErrorContext(ctx, "the issuers of tokens stay as they were: their file cannot be used", "error", err)
	case err == nil && (changed || f.failing):
		f.options.Logger.InfoContext(ctx, "took up the issuers of tokens", "file", f.options.File, "issuers", len(*f.now.Load()))
	}
	f.failing = err != nil
}

func (f *File) read() (changed bool, err error) {
	content, err := os.ReadFile(f.options.File)
	if err != nil {
		return false, fmt.Errorf("read the issuers of tokens (--oidc-config): %w", err)
	}
	sum := sha256.Sum256(content)
	if sum == f.sum {
		return false, nil
	}
	parsed, err := parse(content, f.options.Audience)
	if err != nil {
		return false, fmt.Errorf("read the issuers of tokens (--oidc-config): %s: %w", f.options.File, err)
	}
	before := *f.now.Load()
	after := make(map[string]*Issuer, len(parsed.JWT))
	for _, c := range parsed.JWT {
		// One that is as before keeps its keys.
		if known := before[c.Issuer.URL]; known != nil && known.config.equal(c) {
			after[c.Issuer.URL] = known
			continue
		}
		f.metrics.begin(c.Issuer.URL)
		after[c.Issuer.URL] = newIssuer(c, f.options.Clock, f.options.Logger, f.metrics)
	}
	for url := range before {
		if after[url] == nil {
			f.metrics.end(url)
		}
	}
	f.now.Store(&after)
	f.sum = sum
	return true, nil
}

// equal leaves the pools out, which follow from the certificates.
func (c issuerConfig) equal(other issuerConfig) bool {
	c.roots, other.roots = nil, nil
	return reflect.DeepEqual(c, other)
}
