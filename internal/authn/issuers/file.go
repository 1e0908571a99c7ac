package issuers

import (
	"context"
	"log/slog"
	"reflect"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/coffer-vault/coffer/internal/configfile"
)

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

	metrics metrics
}

// File knows the issuers that a file names, also when that changes. It is safe for concurrent use.
type File struct {
	file *configfile.File[map[string]*Issuer] // by URL
}

// Open reads the file for the first time. Its error says what is wrong with it.
func Open(o Options) (*File, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.metrics = newMetrics(o.Registerer)
	file, err := configfile.Open(configfile.Options[map[string]*Issuer]{
		File: o.File, What: "the issuers of tokens (--oidc-config)", Parse: o.parse, Logger: o.Logger, Clock: o.Clock,
	})
	if err != nil {
		return nil, err
	}
	return &File{file}, nil
}

// For returns the issuer that the token says it is of, nil when the file names none such.
func (f *File) For(ctx context.Context, token string) *Issuer {
	return f.file.Get(ctx)[issuerOf(token)]
}

// Owns reports whether a user or a group of that name is one of an issuer: nobody else is
// to have it.
func (f *File) Owns(user string, groups []string) bool {
	for _, issuer := range f.file.Last() {
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

// parse makes the issuers of a file. One that is as before keeps its keys.
func (o Options) parse(content []byte, before map[string]*Issuer) (map[string]*Issuer, error) {
	parsed, err := parse(content, o.Audience)
	if err != nil {
		return nil, err
	}
	after := make(map[string]*Issuer, len(parsed.JWT))
	for _, c := range parsed.JWT {
		if known := before[c.Issuer.URL]; known != nil && known.config.equal(c) {
			after[c.Issuer.URL] = known
			continue
		}
		o.metrics.begin(c.Issuer.URL)
		after[c.Issuer.URL] = newIssuer(c, o.Clock, o.Logger, o.metrics)
	}
	for url := range before {
		if after[url] == nil {
			o.metrics.end(url)
		}
	}
	return after, nil
}

// equal leaves the pools out, which follow from the certificates.
func (c issuerConfig) equal(other issuerConfig) bool {
	c.roots, other.roots = nil, nil
	return reflect.DeepEqual(c, other)
}
