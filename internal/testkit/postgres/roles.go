package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// CreateRole makes a role without rights that may log in, and returns the address of a database for it; dsn is that of
// somebody else for the same database.
func (s *Server) CreateRole(ctx context.Context, name, dsn string) (string, error) {
	address, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("creating the role %s: the address of the database is no URL", name)
	}
	address.User = url.UserPassword(name, rand.Text())
	password, _ := address.User.Password()
	if err := s.exec(ctx, "CREATE ROLE "+pgx.Identifier{name}.Sanitize()+" LOGIN PASSWORD '"+password+"'"); err != nil {
		return "", fmt.Errorf("creating the role %s: %w", name, err)
	}
	return address.String(), nil
}

// DropRole removes a role that owns nothing any more.
func (s *Server) DropRole(ctx context.Context, name string) error {
	if err := s.exec(ctx, "DROP ROLE IF EXISTS "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("dropping the role %s: %w", name, err)
	}
	return nil
}

// GiveDatabase makes role the owner of a database.
func (s *Server) GiveDatabase(ctx context.Context, database, role string) error {
	if err := s.exec(ctx, "ALTER DATABASE "+pgx.Identifier{database}.Sanitize()+" OWNER TO "+pgx.Identifier{role}.Sanitize()); err != nil {
		return fmt.Errorf("giving database %s to %s: %w", database, role, err)
	}
	return nil
}
