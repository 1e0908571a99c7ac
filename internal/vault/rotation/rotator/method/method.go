// Package method makes the rotator that a rotation names: a kind, and settings in JSON, which hold no secret. What the
// rotator logs in with is another secret of the vault, whose path the settings give.
package method

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/mysql"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/postgres"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/redisacl"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The kinds.
const (
	Generate = "generate"
	Postgres = "postgres"
	MySQL    = "mysql"
	Redis    = "redis"
	Webhook  = "webhook"
)

// Reader reads another credential, as the rotation may.
type Reader func(ctx context.Context, path secret.Path) (rotator.Credential, error)

// Methods makes rotators within what the operator of Coffer allows.
type Methods struct {
	// Limits is where webhooks may be.
	Limits webhook.Limits
}

// Check says what is wrong with settings. Its errors wrap rotator.ErrSetup or generate.ErrSpec.
func (m Methods) Check(kind string, settings json.RawMessage) error {
	s, err := decode(kind, settings)
	if err != nil {
		return err
	}
	if _, err := s.own(); err != nil {
		return err
	}
	return s.check(m.Limits)
}

// New returns the rotator of a kind. Its errors are those of Check and of read.
func (m Methods) New(ctx context.Context, kind string, settings json.RawMessage, read Reader) (rotator.Rotator, error) {
	if err := m.Check(kind, settings); err != nil {
		return nil, err
	}
	s, err := decode(kind, settings)
	if err != nil {
		return nil, err
	}
	path, err := s.own()
	if err != nil {
		return nil, err
	}
	var own rotator.Credential
	if path != (secret.Path{}) {
		if own, err = read(ctx, path); err != nil {
			return nil, fmt.Errorf("read the rotator's own credential at %s: %w", path, err)
		}
	}
	return s.open(own, m.Limits)
}

// Renewer is what knows when credentials of a kind end by themselves, without a credential of its own; nil when they do not end. Its
// errors are those of Check.
func (m Methods) Renewer(kind string, settings json.RawMessage) (rotator.Renewer, error) {
	if err := m.Check(kind, settings); err != nil {
		return nil, err
	}
	s, err := decode(kind, settings)
	if err != nil {
		return nil, err
	}
	if g, is := s.(*generated); is && g.Certificate != nil {
		return g, nil
	}
	return nil, nil
}

// settings are those of one kind.
type settings interface {
	// own is the path of the rotator's own credential; zero when it needs none.
	own() (secret.Path, error)
	check(webhook.Limits) error
	open(own rotator.Credential, limits webhook.Limits) (rotator.Rotator, error)
}

func decode(kind string, raw json.RawMessage) (settings, error) {
	var s settings
	switch kind {
	case Generate:
		s = &generated{}
	case Postgres:
		s = &postgresSettings{}
	case MySQL:
		s = &mysqlSettings{}
	case Redis:
		s = &redisSettings{}
	case Webhook:
		s = &webhookSettings{}
	default:
		return nil, fmt.Errorf("%w: there is no method %q; there are %s, %s, %s, %s and %s", rotator.ErrSetup, kind, Generate, Postgres, MySQL, Redis, Webhook)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields() // a limit that is misspelled would not be one
	if err := decoder.Decode(s); err != nil {
		return nil, fmt.Errorf("%w: the settings of %s cannot be read: %w", rotator.ErrSetup, kind, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: something follows the settings of %s", rotator.ErrSetup, kind)
	}
	return s, nil
}

// login is what the systems' settings share.
type login struct {
	// Credential is the path of the secret that the rotator logs in with.
	Credential string `json:"credential"`
}

func (l login) own() (secret.Path, error) {
	path, err := secret.ParsePath(l.Credential)
	if err != nil {
		return path, fmt.Errorf("%w: credential names the secret that the rotator logs in with: %w", rotator.ErrSetup, err)
	}
	return path, nil
}

type postgresSettings struct {
	login
	postgres.Config
}

func (s *postgresSettings) check(webhook.Limits) error { return s.Check() }

func (s *postgresSettings) open(own rotator.Credential, _ webhook.Limits) (rotator.Rotator, error) {
	return postgres.New(s.Config, own)
}

type mysqlSettings struct {
	login
	mysql.Config
}

func (s *mysqlSettings) check(webhook.Limits) error { return s.Check() }

func (s *mysqlSettings) open(own rotator.Credential, _ webhook.Limits) (rotator.Rotator, error) {
	return mysql.New(s.Config, own)
}

type redisSettings struct {
	login
	redisacl.Config
}

func (s *redisSettings) check(webhook.Limits) error { return s.Check() }

func (s *redisSettings) open(own rotator.Credential, _ webhook.Limits) (rotator.Rotator, error) {
	return redisacl.New(s.Config, own)
}

type webhookSettings struct {
	login
	webhook.Config
}

func (s *webhookSettings) check(limits webhook.Limits) error { return s.Check(limits) }

func (s *webhookSettings) open(own rotator.Credential, limits webhook.Limits) (rotator.Rotator, error) {
	return webhook.New(s.Config, own, limits)
}
