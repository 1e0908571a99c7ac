package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// envDatabaseURL is where a restore finds the database: a command line is seen by
// others.
const envDatabaseURL = "DATABASE_URL"

// Restorer restores backups. It is given by the program: the CLI itself knows only
// the API, and a restore has no server.
type Restorer func(context.Context, RestoreRequest) (Restored, error)

// RestoreRequest is a backup to open, and where to.
type RestoreRequest struct {
	File io.ReadSeeker
	// Identities is a file of age identities.
	Identities io.Reader
	// DatabaseURL is empty to verify only.
	DatabaseURL string
}

// Restored says what a backup holds.
type Restored struct {
	CreatedAt time.Time       `json:"createdAt"`
	Tables    []RestoredTable `json:"tables"`
}

// RestoredTable is a table and its number of rows.
type RestoredTable struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
}

func (s *session) backup() *cobra.Command {
	var (
		recipients []string
		file, out  string
	)
	cmd := &cobra.Command{
		Use:   "backup --recipient age1… --file FILE",
		Short: "Back the vault up into one encrypted file",
		Long: `Back the vault up into one file, encrypted with age to the recipients, of one moment of the
whole database. Values in it stay sealed: it is of use only with the vault's root key too, which
is kept elsewhere. The file is made when it is whole; --timeout does not count.

Needs the read capability on sys/backup.`,
		Example: `  age-keygen -o backup-identity.txt
  coffer backup --recipient age1… --file coffer-backup.age`,
		Args: noArgs, Annotations: map[string]string{explainedBy: "read", explainedPath: "sys/backup"},
	}
	cmd.Flags().StringArrayVarP(&recipients, "recipient", "r", nil, "age recipient who can open the file; may be repeated")
	cmd.Flags().StringVarP(&file, "recipients-file", "R", "", "file with age recipients, one a line")
	cmd.Flags().StringVarP(&out, "file", "f", "", "file to write; it must not exist")
	_ = cmd.MarkFlagFilename("file")
	output := addFormatBesideFile(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, _ []string) error {
		all, err := readRecipients(recipients, file)
		if err != nil {
			return err
		}
		if out == "" {
			return usagef("--file is missing: name the file to write")
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		show := s.showBytes("backing up", -1)
		made := backedUp{File: out}
		err = writeNew(out, func(w io.Writer) error {
			written := &shownWriter{Writer: w, show: show}
			err := client.Backup(cmd.Context(), all, written)
			made.Bytes = written.done
			return err
		})
		show.end()
		if err != nil {
			return err
		}
		return s.print(output.value, result{data: made, names: []string{out}, text: s.line("%s written, %d bytes", out, made.Bytes)})
	})
	return cmd
}

// backedUp is what a backup made.
type backedUp struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

func readRecipients(given []string, file string) ([]string, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read the recipients: %w", err)
		}
		defer func() { _ = f.Close() }()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
				given = append(given, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read the recipients: %w", err)
		}
	}
	if len(given) == 0 {
		return nil, usagef("a recipient is missing: give --recipient or --recipients-file, as age-keygen prints them")
	}
	return given, nil
}

func (s *session) restoreBackup() *cobra.Command {
	var (
		identity string
		verify   bool
	)
	cmd := &cobra.Command{
		Use:   "restore --identity FILE BACKUP",
		Short: "Restore a backup into an empty database, or verify it",
		Long: `Restore a backup into the empty database that $` + envDatabaseURL + ` names. The whole file is verified
first; then all is restored in one transaction, or nothing. No server takes part. Start Coffer on the
database with the root key that the vault had.

With --verify-only no database is needed.`,
		Example: `  coffer restore --identity backup-identity.txt --verify-only coffer-backup.age
  DATABASE_URL=postgres://… coffer restore --identity backup-identity.txt coffer-backup.age`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("expected one backup file, got %d arguments", len(args))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&identity, "identity", "i", "", "file with the age identity, as age-keygen makes it")
	cmd.Flags().BoolVar(&verify, "verify-only", false, "read the whole file, and restore nothing")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		if identity == "" {
			return usagef("--identity is missing: name the file with the age identity")
		}
		request := RestoreRequest{}
		if !verify {
			if request.DatabaseURL = os.Getenv(envDatabaseURL); request.DatabaseURL == "" {
				return usagef("$%s is empty: set it to the URL of an empty database, or give --verify-only", envDatabaseURL)
			}
		}
		return s.restoreFile(cmd.Context(), identity, args[0], request, output.value)
	})
	return cmd
}

func (s *session) restoreFile(ctx context.Context, identity, file string, request RestoreRequest, output string) error {
	if s.restore == nil {
		return errors.New("this program was built without restore")
	}
	identities, err := os.Open(identity)
	if err != nil {
		return fmt.Errorf("read the identity: %w", err)
	}
	defer func() { _ = identities.Close() }()
	backup, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	defer func() { _ = backup.Close() }()
	done, passes := "verified", []string{"verifying"}
	if request.DatabaseURL != "" {
		done, passes = "restored", append(passes, "restoring")
	}
	shown, err := s.showReading(backup, passes...)
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	request.Identities, request.File = identities, shown
	restored, err := s.restore(ctx, request)
	shown.show.end()
	if err != nil {
		return err
	}
	return s.print(output, result{data: restoration{done, restored}, text: func() error {
		if _, err := fmt.Fprintf(s.out, "%s the backup of %s\n", done, stamp(restored.CreatedAt)); err != nil {
			return err
		}
		rows := make([][]string, len(restored.Tables))
		for i, t := range restored.Tables {
			rows[i] = []string{t.Name, fmt.Sprint(t.Rows)}
		}
		return table(s.out, []string{"TABLE", "ROWS"}, rows)
	}})
}

// restoration is what a restore did: done is restored or verified.
type restoration struct {
	Done string `json:"done"`
	Restored
}
