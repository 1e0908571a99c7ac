package postgres

import (
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// DefaultPort is PostgreSQL's.
const DefaultPort = 5432

// Config says where the server is and which roles it is about.
type Config struct {
	Host string `json:"host"`
	// Port is DefaultPort when 0.
	Port int `json:"port,omitempty"`
	// Database is the one that is connected to, and whose objects are looked at for rights.
	Database string      `json:"database"`
	TLS      rotator.TLS `json:"tls,omitzero"`
	// Role is the one whose password changes. Either it or AlternatingRoles is given.
	Role string `json:"role,omitempty"`
	// AlternatingRoles are two, used in turn.
	AlternatingRoles []string `json:"alternatingRoles,omitempty"`
	// EndSessions ends the sessions that the previous of two roles still has, in Finish.
	EndSessions bool `json:"endSessions,omitempty"`
	// Password says what new passwords are like.
	Password generate.Password `json:"password,omitzero"`
}

// Check says what is wrong with c. Its errors wrap rotator.ErrSetup or generate.ErrSpec.
func (c Config) Check() error {
	if c.Host == "" || c.Database == "" {
		return fmt.Errorf("%w: give the host and the database of PostgreSQL", rotator.ErrSetup)
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("%w: %d is no port of PostgreSQL", rotator.ErrSetup, c.Port)
	}
	if (c.Role == "") == (len(c.AlternatingRoles) == 0) {
		return fmt.Errorf("%w: give either role or alternatingRoles", rotator.ErrSetup)
	}
	if c.Role == "" {
		if err := rotator.Pair(c.AlternatingRoles).Check("alternatingRoles"); err != nil {
			return err
		}
	} else if c.EndSessions {
		return fmt.Errorf("%w: endSessions is for alternatingRoles; the sessions of one role are those of the new password too", rotator.ErrSetup)
	}
	if _, err := c.TLS.Config(c.Host); err != nil {
		return err
	}
	return c.Password.Check()
}

func (c Config) port() int {
	if c.Port == 0 {
		return DefaultPort
	}
	return c.Port
}

// New returns the rotator of c, which logs in as administrator with the parts "username" and "password" of admin.
// Its errors wrap rotator.ErrSetup or generate.ErrSpec.
func New(c Config, admin rotator.Credential) (rotator.Rotator, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if err := admin.CheckLogin("the administrator's credential"); err != nil {
		return nil, err
	}
	s := &server{config: c, admin: admin}
	if c.Role != "" {
		return &single{server: s}, nil
	}
	return &alternating{server: s}, nil
}
