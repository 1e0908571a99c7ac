// Command coffer puts, reads, rotates and audits secrets in a Coffer vault. Installed
// as kubectl-coffer it is a plugin of kubectl.
package main

import (
	"context"
	"os"

	"github.com/coffer-vault/coffer/internal/cli"
	"github.com/coffer-vault/coffer/internal/vault/backup"
)

func main() { os.Exit(cli.Main(os.Args, restore)) }

// restore is the one thing that the CLI does without a server.
func restore(ctx context.Context, r cli.RestoreRequest) (cli.Restored, error) {
	report, err := backup.RestoreFile(ctx, r.DatabaseURL, r.Identities, r.File)
	if err != nil {
		return cli.Restored{}, err
	}
	restored := cli.Restored{CreatedAt: report.CreatedAt}
	for _, t := range report.Tables {
		restored.Tables = append(restored.Tables, cli.RestoredTable{Name: t.Table, Rows: t.Rows})
	}
	return restored, nil
}
