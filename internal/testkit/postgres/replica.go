package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// StartReplica starts a hot standby that streams from primary. The caller must Close it.
func StartReplica(ctx context.Context, primary *Server) (*Server, error) {
	dir, err := os.MkdirTemp("", "coffer-postgres-")
	if err != nil {
		return nil, fmt.Errorf("making a scratch directory: %w", err)
	}
	guard, err := process.NewGuard(dir, "INT")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Server{guard: guard, cluster: Cluster{Dir: dir, Password: primary.cluster.Password, Durable: primary.cluster.Durable}}
	if err := s.cluster.copyFrom(ctx, primary.cluster); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.startOnFreePort(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Rejoin throws away what the server holds and makes it a standby of primary, on its port: what is done with a primary
// that failed, once another took its place. It must have ended.
func (s *Server) Rejoin(ctx context.Context, primary *Server) error {
	if err := os.RemoveAll(s.cluster.data()); err != nil {
		return err
	}
	if err := s.cluster.copyFrom(ctx, primary.cluster); err != nil {
		return err
	}
	return s.launch(ctx)
}

// copyFrom makes the data directory by a base backup, which will stream what follows.
func (c Cluster) copyFrom(ctx context.Context, primary Cluster) error {
	bin, err := BinDir()
	if err != nil {
		return err
	}
	who, err := serverOwner()
	if err != nil {
		return err
	}
	if err := who.give(c.Dir); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pg_basebackup"),
		"--pgdata="+c.data(), "--dbname="+primary.DSN(""), "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
	cmd.Dir = "/"
	cmd.SysProcAttr = who.attr(c.Dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w:\n%s", err, out)
	}
	return nil
}

// Promote makes a standby the primary, and waits until it takes writes.
func (s *Server) Promote(ctx context.Context) error {
	return s.Exec(ctx, "SELECT pg_promote(true, 60)")
}

// Exec runs a statement as superuser in the database "postgres".
func (s *Server) Exec(ctx context.Context, sql string) error { return s.exec(ctx, sql) }

// Port is where the server listens on 127.0.0.1.
func (s *Server) Port() int { return s.cluster.Port }
