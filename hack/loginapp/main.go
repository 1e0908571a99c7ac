// Command loginapp stands for a service with a database: it logs in to PostgreSQL every 50 ms, with a new connection each
// time, and counts. A rotation that breaks nothing leaves the count of failures at 0.
//
//	DATABASE_URL        the address, with user and password, of a program that reads its environment when it starts
//	DATABASE_URL_FILE   in its place: a file with the address, read at each login
//	REFUSED_USER        a user that it does not start with, as a program does that a rotation breaks
//	LISTEN              the address to serve on, :8080 when empty
//	TERMINATION_LOG     the file for the counts at the end, /dev/termination-log when empty
//
// It serves its counts at /, and at /ready says whether it has logged in. After SIGTERM it goes on for two seconds, as a
// service does that is still sent requests.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// drain is how long it goes on when it is told to end.
const drain = 2 * time.Second

func main() {
	if err := run(os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "loginapp:", err)
		os.Exit(1)
	}
}

// run serves until the process is told to end, and then leaves its counts for who comes after.
func run(getenv func(string) string) error {
	address, err := addressFrom(getenv)
	if err != nil {
		return err
	}
	s := &service{address: address}
	server := &http.Server{Addr: cmp.Or(getenv("LISTEN"), ":8080"), Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()

	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	context.AfterFunc(told, func() { time.AfterFunc(drain, cancel) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.work(ctx)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serving the counts: %w", err)
	case <-ended:
	}
	text, err := json.Marshal(s.counts())
	return errors.Join(err, os.WriteFile(cmp.Or(getenv("TERMINATION_LOG"), "/dev/termination-log"), text, 0o600), server.Close())
}
