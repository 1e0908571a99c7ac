// Command coffer puts, reads, rotates and audits secrets in a Coffer vault. Installed
// as kubectl-coffer it is a plugin of kubectl.
package main

import (
	"os"

	"github.com/coffer-vault/coffer/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
