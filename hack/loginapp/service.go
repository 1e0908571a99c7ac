package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// pace is the time between the beginnings of two logins.
	pace = 50 * time.Millisecond
	// patience is how long a login may take: a machine may be loaded, and what is slow is not refused.
	patience = 30 * time.Second
)

// counts are what a service has seen.
type counts struct {
	Tried  int `json:"tried"`
	Failed int `json:"failed"`
	// Problem is the first failure. It holds no password.
	Problem string `json:"problem,omitempty"`
}

// service logs in again and again.
type service struct {
	// address is that of the database, as it is at the moment.
	address func() (string, error)

	mu   sync.Mutex
	seen counts
}

// addressFrom says where the service has its address from, which it must be able to read.
func addressFrom(getenv func(string) string) (func() (string, error), error) {
	address := func() (string, error) { return getenv("DATABASE_URL"), nil }
	if file := getenv("DATABASE_URL_FILE"); file != "" {
		address = func() (string, error) {
			text, err := os.ReadFile(file)
			return strings.TrimSpace(string(text)), err
		}
	}
	text, err := address()
	if err != nil {
		return nil, err
	}
	config, err := parse(text)
	if err != nil {
		return nil, err
	}
	if refused := getenv("REFUSED_USER"); refused != "" && refused == config.User {
		return nil, fmt.Errorf("it does not start as %s", refused)
	}
	return address, nil
}

// parse reads an address without showing it.
func parse(address string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil || address == "" {
		return nil, errors.New("the address of the database cannot be read: give postgres://USER:PASSWORD@HOST/DATABASE in DATABASE_URL or in the file DATABASE_URL_FILE")
	}
	return config, nil
}

// work logs in until ctx ends. A login that is under way then is finished, so that it is no failure.
func (s *service) work(ctx context.Context) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for ctx.Err() == nil {
		s.note(s.login(context.WithoutCancel(ctx)))
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (s *service) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	address, err := s.address()
	if err != nil {
		return err
	}
	config, err := parse(address)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return explain(config.User, err)
	}
	return conn.Close(ctx)
}

// explain says why a login failed. Neither the server nor pgconn.ConnectError names a password.
func explain(user string, err error) error {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("as %s: %s (SQLSTATE %s)", user, refused.Message, refused.Code)
	}
	return fmt.Errorf("as %s: %w", user, err)
}

func (s *service) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Tried++
	if err == nil {
		return
	}
	s.seen.Failed++
	text := time.Now().UTC().Format(time.StampMilli) + " " + err.Error()
	fmt.Println("login failed", text)
	if s.seen.Problem == "" {
		s.seen.Problem = text
	}
}

func (s *service) counts() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if c := s.counts(); c.Tried == c.Failed {
			http.Error(w, "it has not logged in", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(s.counts()) // who asks may have gone
	})
	return mux
}
