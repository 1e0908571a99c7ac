package mysql

import (
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// DefaultPort is that of MySQL and MariaDB.
const DefaultPort = 3306

// Authentication is how MariaDB keeps a password. MySQL uses the account's own way.
type Authentication string

// The ways. NativePassword is SHA-1, twice; a long random password is safe with it. Ed25519 needs the plugin
// auth_ed25519, and clients that know it.
const (
	NativePassword Authentication = "mysql_native_password"
	Ed25519        Authentication = "ed25519"
)

// Config says where the server is and which accounts it is about.
type Config struct {
	Host string `json:"host"`
	// Port is DefaultPort when 0.
	Port int         `json:"port,omitempty"`
	TLS  rotator.TLS `json:"tls,omitzero"`
	// User is the one whose password changes. Either it or AlternatingUsers is given.
	User string `json:"user,omitempty"`
	// AlternatingUsers are two, used in turn.
	AlternatingUsers []string `json:"alternatingUsers,omitempty"`
	// AccountHost is the part after @ of the accounts' names; % when empty.
	AccountHost string `json:"accountHost,omitempty"`
	// Authentication is NativePassword when empty.
	Authentication Authentication `json:"authentication,omitempty"`
	// EndSessions ends the sessions that the previous of two users still has, in Finish.
	EndSessions bool `json:"endSessions,omitempty"`
	// Password says what new passwords are like.
	Password generate.Password `json:"password,omitzero"`
}

// Check says what is wrong with c. Its errors wrap rotator.ErrSetup or generate.ErrSpec.
func (c Config) Check() error {
	if c.Host == "" {
		return fmt.Errorf("%w: give the host of MariaDB or MySQL", rotator.ErrSetup)
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("%w: %d is no port of MariaDB or MySQL", rotator.ErrSetup, c.Port)
	}
	if (c.User == "") == (len(c.AlternatingUsers) == 0) {
		return fmt.Errorf("%w: give either user or alternatingUsers", rotator.ErrSetup)
	}
	if c.User == "" {
		if err := rotator.Pair(c.AlternatingUsers).Check("alternatingUsers"); err != nil {
			return err
		}
	} else if c.EndSessions {
		return fmt.Errorf("%w: endSessions is for alternatingUsers; the sessions of one user are those of the new password too", rotator.ErrSetup)
	}
	switch c.authentication() {
	case NativePassword, Ed25519:
	default:
		return fmt.Errorf("%w: there is no authentication %q; there are %s and %s", rotator.ErrSetup, c.Authentication, NativePassword, Ed25519)
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

func (c Config) accountHost() string {
	if c.AccountHost == "" {
		return "%"
	}
	return c.AccountHost
}

func (c Config) authentication() Authentication {
	if c.Authentication == "" {
		return NativePassword
	}
	return c.Authentication
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
	if c.User != "" {
		return &single{server: s}, nil
	}
	return &alternating{server: s}, nil
}
