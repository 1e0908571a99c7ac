// Command describe writes the OpenAPI description of the API, and the Go source with the
// actions of the audit log that the SDK offers, to the files that it is given.
package main

import (
	"fmt"
	"os"

	"github.com/coffer-vault/coffer/internal/server"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: describe OPENAPI-FILE GO-FILE")
		os.Exit(2)
	}
	for i, content := range [][]byte{server.OpenAPI(), server.ActionsSource()} {
		if err := os.WriteFile(os.Args[i+1], content, 0o644); err != nil { //nolint:gosec // documentation is for everyone
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
