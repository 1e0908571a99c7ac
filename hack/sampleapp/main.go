// Command sampleapp stands for any program that is given a secret: it reads a file and an environment variable when it
// starts, prints the fingerprint of each (never the value), and runs until it is told to end.
//
//	SECRET_FILE       the file to read
//	SECRET_VALUE      the value in the environment
//	FINGERPRINT_KEY   the key of the fingerprints
//	ACCEPTED          fingerprints of the values that it can work with, with commas between; all when empty. With
//	                  another value it fails, as a program does whose database refuses the password
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/coffer-vault/coffer/hack/sampleapp/fingerprint"
)

func main() {
	if err := report(os.Stdout, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "sampleapp:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	<-ctx.Done()
}

// report prints what the program was given, and fails when that is not accepted.
func report(out io.Writer, getenv func(string) string) error {
	key := getenv("FINGERPRINT_KEY")
	if key == "" {
		return fmt.Errorf("FINGERPRINT_KEY is not set")
	}
	if file := getenv("SECRET_FILE"); file != "" {
		value, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found := fingerprint.Of(key, value)
		fmt.Fprintln(out, "file fingerprint", found)
		if !accepted(getenv("ACCEPTED"), found) {
			return fmt.Errorf("the value in %s is refused", file)
		}
	}
	if value := getenv("SECRET_VALUE"); value != "" {
		found := fingerprint.Of(key, []byte(value))
		fmt.Fprintln(out, "environment fingerprint", found)
		if !accepted(getenv("ACCEPTED"), found) {
			return errors.New("the value in the environment is refused")
		}
	}
	return nil
}

func accepted(list, fingerprint string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), fingerprint)
}
