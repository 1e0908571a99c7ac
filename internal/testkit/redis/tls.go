package redis

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// ServeTLS makes the server take up a certificate, its key, and the authorities of the
// clients, who must show a certificate, all in PEM and without a restart. It returns
// the port of TLS, the same each time; URL stays that of the one without.
func (s *Server) ServeTLS(ctx context.Context, cert, key, clientCA []byte) (port int, err error) {
	set := []any{"CONFIG", "SET"}
	for name, content := range map[string][]byte{"tls-cert-file": cert, "tls-key-file": key, "tls-ca-cert-file": clientCA} {
		file := filepath.Join(s.instance.Dir, name+".pem")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return 0, fmt.Errorf("writing a certificate: %w", err)
		}
		set = append(set, name, file)
	}
	if s.tlsPort == 0 {
		if s.tlsPort, err = process.FreePort(); err != nil {
			return 0, err
		}
	}
	return s.tlsPort, s.do(ctx, append(set, "tls-auth-clients", "yes", "tls-port", strconv.Itoa(s.tlsPort))...)
}
