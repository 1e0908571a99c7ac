// Package redis runs private Redis servers, for tests and for the local environment: never the system's.
package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// ErrNotInstalled says that this machine has no Redis server.
var ErrNotInstalled = errors.New("no redis-server in PATH: install it with: apt-get install redis-server")

// startWithin is the time a server may take to come up; a loaded machine needs most of it.
const startWithin = 30 * time.Second

// Instance is how one Redis server is run and reached.
type Instance struct {
	// Dir is the server's working directory. It must exist.
	Dir string
	// Port the server listens on.
	Port int
	// Listen are the addresses it listens on; the first is the one in URL. Empty means 127.0.0.1.
	Listen []string
	// Password every client must give.
	Password string
	// Config are further lines of the configuration.
	Config []string
}

// URL is the address of the server's logical database 0.
func (i Instance) URL() string {
	u := url.URL{
		Scheme: "redis",
		// The name is that of Redis's only account; redis-cli 7.0 fails without one.
		User: url.UserPassword("default", i.Password),
		Host: net.JoinHostPort(i.listen()[0], strconv.Itoa(i.Port)),
		Path: "/0",
	}
	return u.String()
}

func (i Instance) listen() []string {
	if len(i.Listen) == 0 {
		return []string{"127.0.0.1"}
	}
	return i.Listen
}

// Command is the server, to be started by the caller; it stays in the foreground, keeps nothing on disk, and logs to
// its standard output. SIGTERM stops it. The configuration goes in by standard input, for the password to be on no
// command line.
func (i Instance) Command() (*exec.Cmd, error) {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNotInstalled
	}
	config := []string{
		"port " + strconv.Itoa(i.Port),
		"bind " + strings.Join(i.listen(), " "),
		"requirepass " + i.Password,
		"save \"\"",
		"appendonly no",
		"dir " + strconv.Quote(i.Dir),
	}
	config = append(config, i.Config...)
	cmd := exec.Command(bin, "-")
	cmd.Stdin = strings.NewReader(strings.Join(config, "\n") + "\n")
	cmd.Dir = i.Dir
	return cmd, nil
}

// Ping reports whether the server answers.
func (i Instance) Ping(ctx context.Context) error {
	opts, err := goredis.ParseURL(i.URL())
	if err != nil {
		return fmt.Errorf("parsing the address of Redis: %w", err)
	}
	client := goredis.NewClient(opts)
	return errors.Join(client.Ping(ctx).Err(), client.Close())
}

// Server is a private Redis, gone with this program.
type Server struct {
	instance Instance
	guard    *process.Guard
	proc     *process.Process
	// tlsPort is 0 before ServeTLS.
	tlsPort int
}

// Start starts an empty server on a free loopback port. The caller must Close it; a program that dies before it does
// leaves nothing behind either.
func Start(ctx context.Context) (*Server, error) {
	return StartWith(ctx, Instance{Password: rand.Text()})
}

// StartWith is Start for a server with the password and the configuration of instance.
func StartWith(ctx context.Context, instance Instance) (*Server, error) {
	dir, err := os.MkdirTemp("", "coffer-redis-")
	if err != nil {
		return nil, fmt.Errorf("making a scratch directory: %w", err)
	}
	guard, err := process.NewGuard(dir, "TERM")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	instance.Dir = dir
	s := &Server{guard: guard, instance: instance}
	for range 3 { // somebody may take the port between our choice and the server's start
		if s.instance.Port, err = process.FreePort(); err != nil {
			break
		}
		if err = s.launch(ctx); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, s.Close())
}

func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	cmd, err := s.instance.Command()
	if err != nil {
		return err
	}
	proc, err := process.Start(cmd, s.instance.Dir, "redis")
	if err != nil {
		return err
	}
	if err := proc.AwaitReady(ctx, s.instance.Ping); err != nil {
		return errors.Join(err, proc.Kill())
	}
	s.proc = proc
	return nil
}

// URL is the address of the server.
func (s *Server) URL() string { return s.instance.URL() }

// Stop stops the server; what it held is lost. Its port stays, for Restart.
func (s *Server) Stop(ctx context.Context) error { return s.proc.Stop(ctx, syscall.SIGTERM) }

// Kill ends the server as a crash does; what it held is lost. Its port stays, for Restart.
func (s *Server) Kill() error { return s.proc.Kill() }

// Restart starts the server again, empty, on the same port; one still running is stopped first.
func (s *Server) Restart(ctx context.Context) error {
	select {
	case <-s.proc.Done():
	default:
		if err := s.Stop(ctx); err != nil {
			return err
		}
	}
	return s.launch(ctx)
}

// FlushAll makes the server lose everything it holds.
func (s *Server) FlushAll(ctx context.Context) error {
	opts, err := goredis.ParseURL(s.URL())
	if err != nil {
		return fmt.Errorf("parsing the address of Redis: %w", err)
	}
	client := goredis.NewClient(opts)
	return errors.Join(client.FlushAll(ctx).Err(), client.Close())
}

// Close stops the server and removes its directory.
func (s *Server) Close() error {
	var err error
	if s.proc != nil {
		err = s.proc.Stop(context.Background(), syscall.SIGTERM)
	}
	return errors.Join(err, s.guard.Release())
}
