package redisacl

import (
	"fmt"
	"net"

	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// Persistence is how a server keeps its ACL through a restart.
type Persistence string

// The ways. A server that loses the new password with a restart locks out who has moved to it, so None is for those
// that are given their ACL from elsewhere, or never restart.
const (
	ACLFile    Persistence = "aclFile"    // ACL SAVE
	ConfigFile Persistence = "configFile" // CONFIG REWRITE
	None       Persistence = "none"
)

// Config says where the servers are and which user it is about.
type Config struct {
	// Addresses, as host:port, of every server that has the user: a master and its replicas, or each node of a Cluster.
	Addresses []string    `json:"addresses"`
	TLS       rotator.TLS `json:"tls,omitzero"`
	// User of the ACL; "default" is the one of requirepass.
	User string `json:"user"`
	// Persistence is ACLFile when empty.
	Persistence Persistence `json:"persistence,omitempty"`
	// Password says what new passwords are like.
	Password generate.Password `json:"password,omitzero"`
}

// Check says what is wrong with c. Its errors wrap rotator.ErrSetup or generate.ErrSpec.
func (c Config) Check() error {
	if len(c.Addresses) == 0 || c.User == "" {
		return fmt.Errorf("%w: give the addresses of Redis and the user", rotator.ErrSetup)
	}
	for _, address := range c.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			return fmt.Errorf("%w: %q is no address of Redis such as redis.example.org:6379", rotator.ErrSetup, address)
		}
		if _, err := c.TLS.Config(host); err != nil {
			return err
		}
	}
	switch c.persistence() {
	case ACLFile, ConfigFile, None:
	default:
		return fmt.Errorf("%w: there is no persistence %q; there are aclFile, configFile and none", rotator.ErrSetup, c.Persistence)
	}
	return c.Password.Check()
}

func (c Config) persistence() Persistence {
	if c.Persistence == "" {
		return ACLFile
	}
	return c.Persistence
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
	return &user{config: c, admin: admin}, nil
}
