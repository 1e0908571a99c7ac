// Command sdkexample is the example of README.md: a program that goes on with a rotated
// value without a restart.
//
//	SECRET_PATH   the path to follow
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/coffer-vault/coffer/hack/sampleapp/fingerprint"
	"github.com/coffer-vault/coffer/sdk"
)

func main() {
	if err := follow(context.Background(), os.Getenv("SECRET_PATH"), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// follow prints a line for each value, where another program would connect anew.
func follow(ctx context.Context, path string, out io.Writer) error {
	client, err := sdk.New(sdk.Config{})
	if err != nil {
		return err
	}
	key := rand.Text() // the fingerprints say whether two values differ, and no more
	for password, err := range client.Follow(ctx, path) {
		if err != nil {
			return err // deleted, or no longer allowed
		}
		fmt.Fprintf(out, "version %d has the fingerprint %s\n", password.Version, fingerprint.Of(key, password.Value))
		clear(password.Value)
	}
	return nil
}
