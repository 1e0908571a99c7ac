package redisacl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// callPatience bounds a dial, and one command.
const callPatience = 10 * time.Second

// server is one of a Config, spoken to with one login.
type server struct {
	config  Config
	address string
	login   string
	client  *redis.Client
}

func dial(config Config, address string, login rotator.Credential) (*server, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is no address of Redis", rotator.ErrSetup, address)
	}
	secured, err := config.TLS.Config(host)
	if err != nil {
		return nil, err
	}
	return &server{config: config, address: address, login: login.Username(), client: redis.NewClient(&redis.Options{
		Addr: address, Username: login.Username(), Password: login.Password(), TLSConfig: secured,
		Protocol:    2, // ACL GETUSER answers a list
		DialTimeout: callPatience, ReadTimeout: callPatience, WriteTimeout: callPatience,
		PoolSize: 1, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}, nil
}

func (s *server) close() { _ = s.client.Close() }

// use asks for something. That the user may not is an answer too: it was logged in for it.
func (s *server) use(ctx context.Context) error {
	err := s.client.Ping(ctx).Err()
	if redis.IsPermissionError(err) {
		return nil
	}
	return s.explain("log in as "+s.login, err, rotator.ErrRefused)
}

// passwords are the hashes that the user has. It wraps rotator.ErrSetup when there is no user who logs in with one.
func (s *server) passwords(ctx context.Context) ([]string, error) {
	what := fmt.Sprintf("the user %s of Redis %s", s.config.User, s.address)
	reply, err := s.client.Do(ctx, "ACL", "GETUSER", s.config.User).Slice()
	if errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("%w: %s does not exist; make it with ACL SETUSER, with the rights and the password that it has elsewhere", rotator.ErrSetup, what)
	}
	if err != nil {
		return nil, s.explain("look at the user "+s.config.User, err, rotator.ErrRights)
	}
	lists := map[string][]string{}
	for i := 0; i+1 < len(reply); i += 2 {
		name, _ := reply[i].(string)
		items, _ := reply[i+1].([]any) // others are no lists
		for _, item := range items {
			if text, ok := item.(string); ok {
				lists[name] = append(lists[name], text)
			}
		}
	}
	switch {
	case slices.Contains(lists["flags"], "nopass"):
		return nil, fmt.Errorf("%w: %s takes every password (nopass), and would lose that with the first of its own; give it its password first", rotator.ErrSetup, what)
	case !slices.Contains(lists["flags"], "on"):
		return nil, fmt.Errorf("%w: %s is off; turn it on with ACL SETUSER %s on", rotator.ErrSetup, what, s.config.User)
	}
	return lists["passwords"], nil
}

func (s *server) change(ctx context.Context, rule string) error {
	return s.explain("change the passwords of "+s.config.User, s.client.Do(ctx, "ACL", "SETUSER", s.config.User, rule).Err(), rotator.ErrRights)
}

// removeHash takes one away that the user has. The server refuses to when it is gone; so it is asked again, since
// another rotator may have been first.
func (s *server) removeHash(ctx context.Context, hash string) error {
	var failed error
	for range 2 {
		has, err := s.passwords(ctx)
		if err != nil || !slices.Contains(has, hash) {
			return err
		}
		if failed = s.change(ctx, "!"+hash); failed == nil {
			return nil
		}
	}
	return failed
}

// persist has the server keep its ACL.
func (s *server) persist(ctx context.Context) error {
	switch s.config.persistence() {
	case ACLFile:
		return s.explain("save its ACL", s.client.Do(ctx, "ACL", "SAVE").Err(), rotator.ErrRights)
	case ConfigFile:
		return s.explain("rewrite its configuration", s.client.ConfigRewrite(ctx).Err(), rotator.ErrRights)
	default:
		return nil
	}
}

// explain says in our own words why doing something failed, and drops the driver's and the server's, which may repeat
// a command. refused is what it wraps when the login, or a right, is to blame.
func (s *server) explain(doing string, err, refused error) error {
	if err == nil {
		return nil
	}
	where := "cannot " + doing + " at Redis " + s.address
	if kind := rotator.Certificate(err); kind != "" {
		return fmt.Errorf("%w: %s: %s", rotator.ErrSetup, where, kind)
	}
	switch {
	case redis.IsAuthError(err), strings.Contains(err.Error(), "invalid username-password pair"):
		return fmt.Errorf("%w: %s: the user or the password is wrong, or the user is off", refused, where)
	case redis.IsPermissionError(err):
		return fmt.Errorf("%w: %s: the right to the command is missing; see docs/guides/rotators.md for those needed", refused, where)
	case strings.Contains(err.Error(), "ACL file"):
		return fmt.Errorf("%w: %s: it has no aclfile, and would forget the password when it restarts; give it one, or set persistence to configFile or none", rotator.ErrSetup, where)
	case strings.Contains(err.Error(), "without a config file"):
		return fmt.Errorf("%w: %s: it has no configuration file, and would forget the password when it restarts; give it one, or set persistence to aclFile or none", rotator.ErrSetup, where)
	}
	return rotator.Unreachable(where, err)
}
