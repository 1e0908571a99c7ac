package notify

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"time"

	prom "github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"

	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
)

// What a file says of itself.
const (
	apiVersion = "vault.coffer.dev/v1alpha1"
	kind       = "NotificationConfiguration"
)

// Limits and defaults of a file.
const (
	maxSinks        = 32 // each is a label of metrics
	maxSelectors    = 64
	defaultTimeout  = 10 * time.Second
	maxTimeout      = 30 * time.Second
	defaultOverdue  = 7
	maxOverdueDays  = 365
	hoursPerDay     = 24 * time.Hour
	maxTemplateSize = 16 << 10
)

// config is a file.
type config struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// OverdueEveryDays is how often is told again of what is overdue; a week when 0.
	OverdueEveryDays int          `json:"overdueEveryDays"`
	Reach            reach        `json:"reach"`
	Sinks            []sinkConfig `json:"sinks"`
}

// reach is where requests may go, besides public addresses by https.
type reach struct {
	// Hosts may have private addresses, such as Services of the cluster.
	Hosts []string `json:"hosts"`
	// Networks may be reached whatever they are.
	Networks []netip.Prefix `json:"networks"`
	// HTTP allows URLs of http.
	HTTP bool `json:"http"`
}

// sinkConfig is one receiver. Names of files are relative to the folder of the file.
type sinkConfig struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// URL or URLFile says where it is; who knows the URL of a chat may write there.
	URL     string `json:"url"`
	URLFile string `json:"urlFile"`
	// CA holds the authorities to believe in place of the machine's, in PEM.
	CA string `json:"ca"`
	// HeaderFiles hold further headers of its requests, such as Authorization.
	HeaderFiles map[string]string `json:"headerFiles"`
	// SigningKeyFile holds the key of the signatures of a webhook.
	SigningKeyFile string `json:"signingKeyFile"`
	// Mode is that of CloudEvents.
	Mode string `json:"mode"`
	// Types and Paths say what it is told of; everything when empty.
	Types []string `json:"types"`
	Paths []string `json:"paths"`
	// Template makes the text of a chat, or the body of a webhook.
	Template string        `json:"template"`
	Timeout  prom.Duration `json:"timeout"`
}

// The kinds of sinks.
const (
	kindSlack      = "slack"
	kindWebhook    = "webhook"
	kindCloudEvent = "cloudevents"
)

// Config is what a file says.
type Config struct {
	sinks   []*sink
	overdue time.Duration
}

var sinkName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// parse reads a file of folder. An error says where the file is wrong and what to write.
func parse(content []byte, folder string) (*Config, error) {
	var c config
	if err := yaml.UnmarshalStrict(content, &c); err != nil {
		return nil, err
	}
	if c.APIVersion != apiVersion || c.Kind != kind {
		return nil, fmt.Errorf("it is a %q of %q: write apiVersion: %s and kind: %s", c.Kind, c.APIVersion, apiVersion, kind)
	}
	if c.OverdueEveryDays < 0 || c.OverdueEveryDays > maxOverdueDays {
		return nil, fmt.Errorf("overdueEveryDays: it is %d; write 1 to %d", c.OverdueEveryDays, maxOverdueDays)
	}
	if c.OverdueEveryDays == 0 {
		c.OverdueEveryDays = defaultOverdue
	}
	if len(c.Sinks) > maxSinks {
		return nil, fmt.Errorf("sinks: %d are named; name at most %d", len(c.Sinks), maxSinks)
	}
	parsed := &Config{overdue: time.Duration(c.OverdueEveryDays) * hoursPerDay}
	limits := webhook.Limits{AllowHTTP: c.Reach.HTTP, Hosts: c.Reach.Hosts, Networks: c.Reach.Networks}
	for i := range c.Sinks {
		s, err := newSink(&c.Sinks[i], limits, folder)
		if err != nil {
			return nil, fmt.Errorf("sinks[%d].%w", i, err)
		}
		if parsed.sink(s.name) != nil {
			return nil, fmt.Errorf("sinks[%d].name: there is another sink %s; write another name", i, s.name)
		}
		parsed.sinks = append(parsed.sinks, s)
	}
	return parsed, nil
}

// sink is the one of that name; nil when there is none.
func (c *Config) sink(name string) *sink {
	for _, s := range c.sinks {
		if s.name == name {
			return s
		}
	}
	return nil
}

// route names the sinks that want to be told of an event.
func (c *Config) route(e *notification.Event) (names []string) {
	for _, s := range c.sinks {
		if s.filter.wants(e) {
			names = append(names, s.name)
		}
	}
	return names
}

// complete checks what every kind has, and fills in what may be left out.
func (c *sinkConfig) complete(folder string) error {
	switch {
	case !sinkName.MatchString(c.Name):
		return fmt.Errorf("name: it is %q; write one of up to 63 small letters, digits and -, such as platform-chat", c.Name)
	case c.URL == "" && c.URLFile == "":
		return errors.New("urlFile: it is missing; name a file that holds the URL, or write url when that is no secret")
	case c.URL != "" && c.URLFile != "":
		return errors.New("url: there is a urlFile too; write one of them")
	case c.Timeout < 0 || time.Duration(c.Timeout) > maxTimeout:
		return fmt.Errorf("timeout: it is %s; write up to %s", c.Timeout, maxTimeout)
	case len(c.Template) > maxTemplateSize:
		return fmt.Errorf("template: it has %d bytes; write at most %d", len(c.Template), maxTemplateSize)
	}
	if c.Timeout == 0 {
		c.Timeout = prom.Duration(defaultTimeout)
	}
	c.URLFile, c.SigningKeyFile = within(folder, c.URLFile), within(folder, c.SigningKeyFile)
	for name, file := range c.HeaderFiles {
		if file == "" || reservedHeader(name) {
			return fmt.Errorf("headerFiles[%s]: write a header that Coffer does not set itself, and the name of a file", name)
		}
		c.HeaderFiles[name] = within(folder, file)
	}
	return c.check()
}

// check refuses settings that the kind does not have.
func (c *sinkConfig) check() error {
	switch c.Kind {
	case kindSlack, kindWebhook, kindCloudEvent:
	default:
		return fmt.Errorf("kind: it is %q; write %s, %s or %s", c.Kind, kindSlack, kindWebhook, kindCloudEvent)
	}
	switch {
	case c.SigningKeyFile != "" && c.Kind != kindWebhook:
		return fmt.Errorf("signingKeyFile: only a %s is signed; leave it out", kindWebhook)
	case c.Mode != "" && c.Kind != kindCloudEvent:
		return fmt.Errorf("mode: only %s have one; leave it out", kindCloudEvent)
	case c.Mode != "" && c.Mode != modeBinary && c.Mode != modeStructured:
		return fmt.Errorf("mode: it is %q; write %s or %s", c.Mode, modeBinary, modeStructured)
	case c.Template != "" && c.Kind == kindCloudEvent:
		return fmt.Errorf("template: the data of %s are always the event in JSON; leave it out", kindCloudEvent)
	}
	return nil
}

// within is a file of folder, unless its name is absolute; empty stays empty.
func within(folder, file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(folder, file)
}
