package redisacl_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit"
	rediskit "github.com/coffer-vault/coffer/internal/testkit/redis"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/redisacl"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/rotatortest"
)

// world is two servers with an ACL file each, the user app, and an administrator who may do no more than the guide
// says.
type world struct {
	t       *testing.T
	servers []*rediskit.Server
	super   []*goredis.Client
	config  redisacl.Config
	admin   rotator.Credential
	one     rotator.Credential
}

func newWorld(t *testing.T, servers int) *world {
	t.Helper()
	w := &world{t: t,
		config: redisacl.Config{User: "app", TLS: rotator.TLS{Disabled: true}},
		admin:  rotator.Credential{"username": "coffer-rotator", "password": "the-administrator's"},
		one:    rotator.Credential{"username": "app", "password": "first", "url": "redis://app:first@redis.example.org:6379/0"},
	}
	for range servers {
		acl := filepath.Join(t.TempDir(), "users.acl")
		must(t, "the ACL file", os.WriteFile(acl, []byte("user default on >super ~* &* +@all\n"), 0o600))
		server, err := rediskit.StartWith(t.Context(), rediskit.Instance{Password: "super", Config: []string{"aclfile " + acl}})
		must(t, "Redis", err)
		t.Cleanup(func() { _ = server.Close() })
		options, err := goredis.ParseURL(server.URL())
		must(t, "its URL", err)
		super := goredis.NewClient(options)
		t.Cleanup(func() { _ = super.Close() })
		w.servers, w.super = append(w.servers, server), append(w.super, super)
		w.config.Addresses = append(w.config.Addresses, options.Addr)
	}
	w.acl("coffer-rotator", "on", ">the-administrator's", "+acl|getuser", "+acl|setuser", "+acl|save")
	w.acl("app", "on", ">first", "~app:*", "+get", "+set")
	return w
}

// acl sets a user at every server.
func (w *world) acl(user string, rules ...any) {
	w.t.Helper()
	for _, super := range w.super {
		must(w.t, "ACL SETUSER "+user, super.Do(w.t.Context(), append([]any{"ACL", "SETUSER", user}, rules...)...).Err())
	}
}

func (w *world) rotator() rotator.Rotator {
	w.t.Helper()
	r, err := redisacl.New(w.config, w.admin)
	must(w.t, "new", err)
	return r
}

// logsIn reports whether an application gets in at every server.
func (w *world) logsIn(c rotator.Credential) bool {
	all := true
	for _, address := range w.config.Addresses {
		client := goredis.NewClient(&goredis.Options{Addr: address, Username: c["username"], Password: c["password"]})
		err := client.Set(w.t.Context(), "app:key", "1", 0).Err()
		_ = client.Close()
		all = all && err == nil
	}
	return all
}

func (w *world) accepts(at string, old, next rotator.Credential, wantOld, wantNext bool) {
	w.t.Helper()
	if gotOld, gotNext := w.logsIn(old), w.logsIn(next); gotOld != wantOld || gotNext != wantNext {
		w.t.Errorf("%s: the old logs in: %v, the new: %v; want %v and %v", at, gotOld, gotNext, wantOld, wantNext)
	}
}

func must(t *testing.T, step string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
}

func create(t *testing.T, r rotator.Rotator, current rotator.Credential) rotator.Credential {
	t.Helper()
	next, err := r.Create(t.Context(), current)
	must(t, "create", err)
	return next
}

func TestTwoPasswordsKeepEverybodyIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	rotatortest.Run(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn})
}

// TestNoRotationStartsFromAnUnfitCredential stores the login of an application in ways that a rotation cannot retire.
func TestNoRotationStartsFromAnUnfitCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	system := rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn}
	rotatortest.RefusesUnfit(t, system)
	must(t, "one server only", w.super[1].Do(t.Context(), "ACL", "SETUSER", "app", ">second").Err())
	if _, err := system.Rotator.Create(t.Context(), rotator.Credential{"username": "app", "password": "second"}); !errors.Is(err, rotator.ErrRefused) {
		t.Errorf("a password that one server lacks: %v", err)
	}
	must(t, "every password", w.super[1].Do(t.Context(), "ACL", "SETUSER", "app", "nopass").Err())
	if _, err := system.Rotator.Create(t.Context(), w.one); !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), "takes every password") {
		t.Errorf("a user who needs no password: %v", err)
	}
}

func TestNewPasswordOutlivesARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	// As after a crash between the change and its saving: the password is there and not on disk.
	r := w.rotator()
	next := create(t, r, w.one)
	w.acl("app", ">"+next["password"])
	must(t, "set", r.Set(t.Context(), w.one, next))
	must(t, "kill", w.servers[0].Kill())
	must(t, "restart", w.servers[0].Restart(t.Context()))
	w.accepts("restarted after set", w.one, next, true, true)
	must(t, "finish", r.Finish(t.Context(), w.one, next))
	must(t, "kill", w.servers[0].Kill())
	must(t, "restart", w.servers[0].Restart(t.Context()))
	w.accepts("restarted after finish", w.one, next, false, true)
}

// TestNobodyIsLockedOut asks for the old password's end while one server has no other.
func TestNobodyIsLockedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	r := w.rotator()
	next := create(t, r, w.one)
	must(t, "one server", w.super[0].Do(t.Context(), "ACL", "SETUSER", "app", ">"+next["password"]).Err())
	if err := r.Finish(t.Context(), w.one, next); !errors.Is(err, rotator.ErrRefused) {
		t.Errorf("finish says %v", err)
	}
	w.accepts("finish", w.one, next, true, false)
	if err := r.Finish(t.Context(), w.one, w.one); !errors.Is(err, rotator.ErrSetup) {
		t.Errorf("finish with one password says %v", err)
	}
}

// recorder passes connections on to a server, and keeps what is sent to it.
func recorder(t *testing.T, server string) (address string, sent *testkit.Output) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, "listen", err)
	t.Cleanup(func() { _ = listener.Close() })
	sent = &testkit.Output{}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			behind, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() { _, _ = io.Copy(client, behind); _ = client.Close() }()
			go func() { _, _ = io.Copy(io.MultiWriter(behind, sent), client); _ = behind.Close() }()
		}
	}()
	return listener.Addr().String(), sent
}

// TestServerIsSentHashesOnly looks at what goes to the server, but for the logins of the test step.
func TestServerIsSentHashesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	address, sent := recorder(t, w.config.Addresses[0])
	w.config.Addresses[0] = address
	r := w.rotator()
	next := create(t, r, w.one)
	must(t, "set", r.Set(t.Context(), w.one, next))
	must(t, "finish", r.Finish(t.Context(), w.one, next))
	// A command is copied on before it is kept.
	testkit.Eventually(t, time.Minute, func() string {
		if sum := sha256.Sum256([]byte("first")); !strings.Contains(sent.String(), "!"+hex.EncodeToString(sum[:])) {
			return "nobody saw the old hash being taken away"
		}
		return ""
	})
	if strings.Contains(sent.String(), next["password"]) {
		t.Error("the server was sent the password")
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.acl("open", "on", "nopass")
	w.acl("sleeping", "off", ">first")
	w.acl("weak", "on", ">weak", "+ping")
	plain, err := rediskit.StartWith(t.Context(), rediskit.Instance{Password: "super"})
	must(t, "Redis without a file", err)
	t.Cleanup(func() { _ = plain.Close() })
	address, err := url.Parse(plain.URL())
	must(t, "its URL", err)
	next := create(t, w.rotator(), w.one)
	withoutFile := func(p redisacl.Persistence) func(*redisacl.Config, rotator.Credential) {
		return func(c *redisacl.Config, admin rotator.Credential) {
			c.Addresses, c.User, c.Persistence = []string{address.Host}, "default", p
			admin["username"], admin["password"] = "default", "super"
		}
	}
	for _, tc := range []struct {
		name string
		with func(*redisacl.Config, rotator.Credential)
		kind error
		want string
	}{
		{"wrong password", func(_ *redisacl.Config, admin rotator.Credential) { admin["password"] = "guessed" }, rotator.ErrRights, "the user or the password is wrong"},
		{"no rights", func(_ *redisacl.Config, admin rotator.Credential) {
			admin["username"], admin["password"] = "weak", "weak"
		}, rotator.ErrRights, "right to the command is missing"},
		{"nobody there", func(c *redisacl.Config, _ rotator.Credential) { c.Addresses = []string{"127.0.0.1:1"} }, rotator.ErrUnreachable, "127.0.0.1:1"},
		{"no user", func(c *redisacl.Config, _ rotator.Credential) { c.User = "nobody" }, rotator.ErrSetup, "does not exist; make it"},
		{"nopass", func(c *redisacl.Config, _ rotator.Credential) { c.User = "open" }, rotator.ErrSetup, "takes every password"},
		{"off", func(c *redisacl.Config, _ rotator.Credential) { c.User = "sleeping" }, rotator.ErrSetup, "ACL SETUSER sleeping on"},
		{"no ACL file", withoutFile(redisacl.ACLFile), rotator.ErrSetup, "it has no aclfile"},
		{"no configuration file", withoutFile(redisacl.ConfigFile), rotator.ErrSetup, "it has no configuration file"},
		{"kept by nobody", withoutFile(redisacl.None), nil, ""},
	} {
		config, admin := w.config, rotator.Credential{"username": w.admin["username"], "password": w.admin["password"]}
		tc.with(&config, admin)
		r, err := redisacl.New(config, admin)
		must(t, tc.name, err)
		err = r.Set(t.Context(), w.one, next)
		if !errors.Is(err, tc.kind) || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%s: set says %v, want %v with %q", tc.name, err, tc.kind, tc.want)
		}
		if strings.Contains(fmt.Sprint(err), next["password"]) || strings.Contains(fmt.Sprint(err), admin["password"]) && admin["password"] != "weak" {
			t.Errorf("%s: the error holds a password", tc.name)
		}
	}
	if err := w.rotator().Test(t.Context(), next); !errors.Is(err, rotator.ErrRefused) {
		t.Errorf("the test of a password that is not set says %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	at := []string{"redis:6379"}
	for _, tc := range []struct {
		config redisacl.Config
		want   string
	}{
		{redisacl.Config{User: "app"}, "give the addresses of Redis and the user"},
		{redisacl.Config{Addresses: at}, "give the addresses of Redis and the user"},
		{redisacl.Config{User: "app", Addresses: []string{"redis"}}, `"redis" is no address of Redis`},
		{redisacl.Config{User: "app", Addresses: at, Persistence: "disk"}, `no persistence "disk"`},
		{redisacl.Config{User: "app", Addresses: at, TLS: rotator.TLS{CA: "none"}}, "no certificate in PEM"},
	} {
		if _, err := redisacl.New(tc.config, rotator.Credential{"username": "u", "password": "p"}); !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want %q", tc.config, err, tc.want)
		}
	}
	if _, err := redisacl.New(redisacl.Config{User: "app", Addresses: at}, nil); !errors.Is(err, rotator.ErrSetup) {
		t.Errorf("no administrator: %v", err)
	}
}
