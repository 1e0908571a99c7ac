package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// removed is what a removal did.
type removed struct {
	Path string `json:"path"`
	// Versions are those that were named; none for the whole secret.
	Versions []int64 `json:"versions,omitempty"`
	// Done is deleted, undeleted or destroyed.
	Done string `json:"done"`
}

// destroyed is what is done to what does not come back.
const destroyed = "destroyed"

// removal is delete, undelete or destroy: of a whole secret, or of single versions.
type removal struct {
	// done is for the message, such as "deleted".
	done string
	// asks is what is to be confirmed, such as "deletes"; nothing when empty.
	asks     string
	path     func(*sdk.Client, context.Context, string) error
	versions func(*sdk.Client, context.Context, string, ...int64) error
}

func (s *session) remove() *cobra.Command {
	return s.removal(&cobra.Command{
		Use:   "delete PATH",
		Short: "Delete a secret, or versions of it, until undeleted",
		Long: `Delete a secret: it can be neither read nor listed, and Secrets synced from it are removed
unless their VaultSecret says otherwise. Undelete brings it back; a later put begins anew
with the next version number. With --version, delete those versions only; the current
one cannot be deleted alone.

You are asked to confirm by typing the path, unless --yes is given. --dry-run shows the
versions that would go, for which it needs the list or the read capability besides. Needs
the delete capability.`,
		Example: `  coffer delete production/payments/database
  coffer delete production/payments/database --version 1,2 --yes`,
	}, removal{done: "deleted", asks: "deletes", path: (*sdk.Client).Delete, versions: (*sdk.Client).DeleteVersions})
}

func (s *session) undelete() *cobra.Command {
	return s.removal(&cobra.Command{
		Use:   "undelete PATH",
		Short: "Bring a deleted secret, or deleted versions of it, back",
		Long: `Bring a deleted secret back as it was, with its versions, labels and access policy. With
--version, bring back versions that were deleted alone. What is destroyed, or was written
anew since the deletion, does not come back. Needs the delete capability, for a whole
secret by a VaultPolicy.`,
		Example: `  coffer undelete production/payments/database
  coffer undelete production/payments/database --version 2`,
	}, removal{
		done: "undeleted", versions: (*sdk.Client).UndeleteVersions,
		path: func(c *sdk.Client, ctx context.Context, path string) error {
			_, err := c.Undelete(ctx, path)
			return err
		},
	})
}

func (s *session) destroy() *cobra.Command {
	return s.removal(&cobra.Command{
		Use:   "destroy PATH",
		Short: "Remove a secret, or versions of it, for good",
		Long: `Remove the values of a secret with all its versions for good, whether it is deleted or
not, and its description, tags and access policy. With --version, remove the values of
those versions only; the current one cannot be destroyed alone. The numbers stay, and a
later put goes on with the next one. Backups of the database still hold what was
destroyed after they were made.

You are asked to confirm by typing the path, unless --yes is given. --dry-run shows the
versions that would go, for which it needs the list or the read capability besides. Needs
the delete capability.`,
		Example: `  coffer destroy production/payments/database
  coffer destroy production/payments/database --version 1,2 --yes`,
	}, removal{done: destroyed, asks: "destroys, for good,", path: (*sdk.Client).Destroy, versions: (*sdk.Client).DestroyVersions})
}

// removal completes cmd with what its kind has in common.
func (s *session) removal(cmd *cobra.Command, r removal) *cobra.Command {
	var (
		yes      bool
		dryRun   bool
		versions []int64
	)
	cmd.Args, cmd.ValidArgsFunction, cmd.Annotations = onePath, s.completePath, map[string]string{explainedBy: "delete"}
	if r.asks != "" {
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
		addDryRun(cmd, &dryRun, "go")
	}
	cmd.Flags().Int64SliceVar(&versions, "version", nil, "version by its number, instead of the whole secret; may be repeated")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		what := args[0]
		if len(versions) > 0 {
			what = versionsText(versions) + " of " + args[0]
		}
		if r.asks != "" && !yes && !dryRun {
			if err := s.confirmChange(r.asks+" "+what, args[0]); err != nil {
				return err
			}
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		ctx, cancel := s.limit(cmd)
		defer cancel()
		if dryRun {
			return s.showRemoval(ctx, client, removed{args[0], versions, r.done}, output.value)
		}
		if cmd.Flags().Changed("version") {
			err = r.versions(client, ctx, args[0], versions...)
		} else {
			err = r.path(client, ctx, args[0])
		}
		if err != nil {
			return err
		}
		return s.print(output.value, result{data: removed{args[0], versions, r.done}, names: args, text: s.line("%s %s", what, r.done)})
	})
	return cmd
}

// versionsText is "version 3" or "versions 1, 2".
func versionsText(versions []int64) string {
	numbers := strings.Join(namesOf(versions, func(v int64) string { return fmt.Sprint(v) }), ", ")
	if len(versions) == 1 {
		return "version " + numbers
	}
	return "versions " + numbers
}

// confirm asks for what is to be deleted to be typed.
func (s *session) confirm(name string) error { return s.confirmChange("deletes "+name, name) }

// confirmChange asks for name to be typed before what is done.
func (s *session) confirmChange(what, name string) error {
	if _, ok := terminalOf(s.in); !ok {
		return usagef("this asks for confirmation, and standard input is not a terminal; give --yes")
	}
	_, _ = fmt.Fprintf(s.err, "This %s. Type %s to go on: ", what, name)
	answer, err := s.readLine(bufio.NewReader(s.in), "the confirmation")
	if err != nil {
		return err
	}
	if strings.TrimSpace(answer) != name {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}
