package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// TLS is what a server shows, and whom it believes.
type TLS struct {
	// Cert and Key are the server's, and ClientCA the authorities of clients, in PEM.
	Cert, Key, ClientCA []byte
	// Role may log in over TLS only, with its password and a certificate of ClientCA.
	Role string
}

// ServeTLS makes the server take up c, without a restart; sessions that stand stay.
// New ones meet c a moment later.
func (s *Server) ServeTLS(ctx context.Context, c TLS) error {
	who, err := serverOwner()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"server.crt": c.Cert, "server.key": c.Key, "client-ca.crt": c.ClientCA} {
		file := filepath.Join(s.cluster.data(), name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return fmt.Errorf("writing a certificate: %w", err)
		}
		if err := who.give(file); err != nil {
			return fmt.Errorf("giving %s to the server's user: %w", file, err)
		}
	}
	if err := s.cluster.admit(
		"hostssl all "+c.Role+" 127.0.0.1/32 scram-sha-256 clientcert=verify-ca",
		"hostnossl all "+c.Role+" 127.0.0.1/32 reject",
	); err != nil {
		return err
	}
	for _, sql := range []string{
		`ALTER SYSTEM SET ssl_cert_file = 'server.crt'`, `ALTER SYSTEM SET ssl_key_file = 'server.key'`,
		`ALTER SYSTEM SET ssl_ca_file = 'client-ca.crt'`, `ALTER SYSTEM SET ssl = on`, `SELECT pg_reload_conf()`,
	} {
		if err := s.exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
