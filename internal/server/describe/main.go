// Command describe writes the OpenAPI description of the API to the file that it is
// given.
package main

import (
	"fmt"
	"os"

	"github.com/coffer-vault/coffer/internal/server"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: describe FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], server.OpenAPI(), 0o644); err != nil { //nolint:gosec // documentation is for everyone
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
