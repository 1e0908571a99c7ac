// Package postgres runs private PostgreSQL servers, for tests and for the local environment: never the system's.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// startWithin is the time a server may take to come up; a loaded machine needs most of it.
const startWithin = 60 * time.Second

// Options of Start; the zero value is a server for tests.
type Options struct {
	// Durable keeps fsync on, for tests that crash the machine's view of the disk.
	Durable bool
	// DiskBytes, when not 0, gives the data a file system of its own of that size, for FillDisk. Only root can
	// mount one. An empty database takes about 60 MiB with its log.
	DiskBytes int64
}

// Server is a private PostgreSQL, gone with this program.
type Server struct {
	cluster Cluster
	guard   *process.Guard
	proc    *process.Process
}

// Start makes a cluster in a scratch directory and starts its server on a free loopback port. The caller must Close
// the server; a program that dies before it does leaves nothing behind either.
func Start(ctx context.Context, opts Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "coffer-postgres-")
	if err != nil {
		return nil, fmt.Errorf("making a scratch directory: %w", err)
	}
	guard, err := process.NewGuard(dir, "INT")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Server{guard: guard, cluster: Cluster{Dir: dir, Password: rand.Text(), Durable: opts.Durable}}
	if opts.DiskBytes > 0 {
		if err := s.cluster.mountDisk(opts.DiskBytes); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := s.cluster.Init(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.startOnFreePort(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// startOnFreePort tries again when somebody takes the port between our choice and the server's start.
func (s *Server) startOnFreePort(ctx context.Context) error {
	var err error
	for range 3 {
		if s.cluster.Port, err = process.FreePort(); err != nil {
			return err
		}
		if err = s.launch(ctx); err == nil {
			return nil
		}
	}
	return err
}

func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	cmd, err := s.cluster.Command()
	if err != nil {
		return err
	}
	proc, err := process.Start(cmd, s.cluster.Dir, "postgres")
	if err != nil {
		return err
	}
	if err := proc.AwaitReady(ctx, s.Ping); err != nil {
		return errors.Join(err, proc.Kill())
	}
	s.proc = proc
	return nil
}

// PID is the process id of the server, whose children serve the connections.
func (s *Server) PID() int { return s.proc.PID() }

// Ping reports whether the server answers.
func (s *Server) Ping(ctx context.Context) error { return s.cluster.Ping(ctx) }

// DSN is the superuser's address of the database "postgres".
func (s *Server) DSN() string { return s.cluster.DSN("postgres") }

// CreateDatabase makes an empty database and returns the superuser's address of it.
func (s *Server) CreateDatabase(ctx context.Context, name string) (string, error) {
	if err := s.exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("creating database %s: %w", name, err)
	}
	return s.cluster.DSN(name), nil
}

// DropDatabase removes a database and ends the sessions still in it.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	if err := s.exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("dropping database %s: %w", name, err)
	}
	return nil
}

func (s *Server) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.DSN())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// Stop stops the server in order (a fast shutdown: sessions end, transactions in flight roll back). Its data and its
// port stay, for Restart.
func (s *Server) Stop(ctx context.Context) error { return s.proc.Stop(ctx, syscall.SIGINT) }

// Done is closed when the server has ended, by whatever way.
func (s *Server) Done() <-chan struct{} { return s.proc.Done() }

// Kill ends the server as a crash does. Its data and its port stay, for Restart.
func (s *Server) Kill() error { return s.proc.Kill() }

// Restart starts the server again, on the same port and data, after Stop or Kill; one still running is stopped first.
func (s *Server) Restart(ctx context.Context) error {
	select {
	case <-s.proc.Done():
	default:
		if err := s.Stop(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		err := s.launch(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		// The sessions of a killed server take a moment to notice, and hold its shared memory meanwhile.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Close stops the server and removes its data.
func (s *Server) Close() error {
	var err error
	if s.proc != nil {
		err = s.proc.Stop(context.Background(), syscall.SIGINT)
	}
	return errors.Join(err, s.guard.Release())
}
