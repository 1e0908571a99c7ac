package rotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// ErrInvalid is wrapped by errors about a definition that cannot be run; what to mend is in the message.
var ErrInvalid = errors.New("invalid rotation")

// Defaults and limits of Spec.
const (
	// DefaultGrace is for who has read the former credential a moment ago and not used it yet. What a cache may keep for longer
	// counts as a consumer's.
	DefaultGrace = 5 * time.Minute
	DefaultWait  = 24 * time.Hour
	// DefaultAttempts bounds how often a step is tried, over some minutes.
	DefaultAttempts = 8
	maxAttempts     = 1000
	maxNameBytes    = 253 + 1 + 253 // namespace/name
)

// Definition is a rotation of one path.
type Definition struct {
	// Name is unique among those of its cluster, such as "payments/database".
	Name string `json:"name"`
	// As is in whose name the path is read and written: it needs the read and the rotate capability there.
	As Identity `json:"as"`
	Spec
}

// Identity is a service account of the definition's cluster.
type Identity struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	UID            string `json:"uid,omitempty"`
	// Environment is that of the namespace.
	Environment string `json:"environment,omitempty"`
}

// Spec is what the owner of a rotation writes.
type Spec struct {
	Path     string        `json:"path"`
	Schedule schedule.Spec `json:"schedule"`
	Method   Method        `json:"method"`
	Consumed Consumed      `json:"consumed"`
	Failure  OnFailure     `json:"onFailure,omitempty"`
	Attempts int           `json:"attempts,omitempty"`
	// Suspended: nothing is due by time. A run that is under way goes on.
	Suspended bool `json:"suspended,omitempty"`
}

// Method names a rotator or a generator. Settings are its own, and hold no secret: what it needs to log in is at another path of the
// vault, which the settings name.
type Method struct {
	Kind     string          `json:"kind"`
	Settings json.RawMessage `json:"settings,omitempty"`
}

// Consumed says when the former credential may be given up.
type Consumed struct {
	// Grace is how long it stays accepted after every consumer has the new one; DefaultGrace when nil.
	Grace *model.Duration `json:"grace,omitempty"`
	// Wait is how long consumers are waited for; DefaultWait when 0.
	Wait model.Duration `json:"wait,omitempty"`
	// Then is what happens after that; Ask when empty.
	Then Then `json:"then,omitempty"`
}

// Then is what to do when consumers were waited for long enough.
type Then string

// What to do.
const (
	// Ask waits on, until somebody approves or cancels.
	Ask Then = "Ask"
	// Proceed goes on without the consumers that have not moved: they break.
	Proceed Then = "Proceed"
)

// OnFailure is what becomes of a rotation that failed.
type OnFailure string

// What becomes of it.
const (
	// RollBack makes the former credential current again, and revokes the new one when nobody has it. It is what an empty OnFailure
	// means.
	RollBack OnFailure = "RollBack"
	// Hold leaves both accepted, until somebody approves (it goes on) or cancels (it is rolled back).
	Hold OnFailure = "Hold"
)

// Grace is Consumed.Grace or its default.
func (s *Spec) grace() time.Duration {
	if s.Consumed.Grace == nil {
		return DefaultGrace
	}
	return time.Duration(*s.Consumed.Grace)
}

func (s *Spec) wait() time.Duration {
	if s.Consumed.Wait == 0 {
		return DefaultWait
	}
	return time.Duration(s.Consumed.Wait)
}

// MaxAttempts is Attempts or its default.
func (s *Spec) MaxAttempts() int {
	if s.Attempts == 0 {
		return DefaultAttempts
	}
	return s.Attempts
}

// Caller is who reads and writes the path for the run id.
func (i Identity) Caller(cluster, id string) secret.Caller {
	return secret.Caller{
		Kind: secret.KindServiceAccount, Cluster: cluster, Namespace: i.Namespace, Name: i.ServiceAccount, UID: i.UID,
		Environment: i.Environment, Address: secret.RotationAddress, RequestID: id,
	}
}

// Validate reports, as ErrInvalid, what keeps d from being run.
func (d *Definition) Validate() error {
	if err := d.validate(); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrInvalid, d.Name, err)
	}
	return nil
}

func (d *Definition) validate() error {
	if d.Name == "" || len(d.Name) > maxNameBytes {
		return fmt.Errorf("a name of %d bytes; give 1 to %d", len(d.Name), maxNameBytes)
	}
	if d.As.Namespace == "" || d.As.ServiceAccount == "" {
		return errors.New("nobody is named in whose name it is done; give a namespace and a service account")
	}
	path, err := secret.ParsePath(d.Path)
	if err != nil {
		return err
	}
	if path.IsReserved() {
		return fmt.Errorf("%s is a path of the vault itself; choose one that does not begin with sys", path)
	}
	if _, err := schedule.Parse(d.Schedule); err != nil {
		return err
	}
	return d.Spec.validate()
}

func (s *Spec) validate() error {
	if s.Method.Kind == "" {
		return errors.New("the method has no kind; name a rotator or a generator")
	}
	if grace := s.Consumed.Grace; grace != nil && *grace < 0 {
		return fmt.Errorf("a grace of %s; give 0s or more", *grace)
	}
	if s.Consumed.Wait < 0 {
		return fmt.Errorf("a wait of %s; give none, or one above 0", s.Consumed.Wait)
	}
	switch s.Consumed.Then {
	case "", Ask, Proceed:
	default:
		return fmt.Errorf("then %q; write Ask or Proceed", s.Consumed.Then)
	}
	switch s.Failure {
	case "", RollBack, Hold:
	default:
		return fmt.Errorf("onFailure %q; write RollBack or Hold", s.Failure)
	}
	if s.Attempts < 0 || s.Attempts > maxAttempts {
		return fmt.Errorf("%d attempts; give 1 to %d", s.Attempts, maxAttempts)
	}
	return nil
}
