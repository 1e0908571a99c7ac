// Command sampleapp stands for any program that is given a secret: it reads a file and an environment variable when it
// starts, prints the fingerprint of each (never the value), and runs until it is told to end.
//
//	SECRET_FILE       the file to read
//	SECRET_VALUE      the value in the environment
//	FINGERPRINT_KEY   the key of the fingerprints
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
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

// report prints what the program was given.
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
		fmt.Fprintln(out, "file fingerprint", fingerprint.Of(key, value))
	}
	if value := getenv("SECRET_VALUE"); value != "" {
		fmt.Fprintln(out, "environment fingerprint", fingerprint.Of(key, []byte(value)))
	}
	return nil
}
