package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

func (s *session) versions() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "versions PATH",
		Short: "List the versions of a secret, never their values",
		Long: `List the versions of a secret, newest first, never their values. Needs the list or the read
capability.

A version has labels: current is what get prints, previous was current before, and
pending waits for promote. A deleted version can be undeleted; a destroyed one is gone
for good. With --deleted, list what undelete would bring back of a secret that is deleted as a
whole, for which a VaultPolicy must give the capability.`,
		Example: `  coffer versions production/payments/database
  coffer versions production/payments/database --deleted`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "list"},
	}
	deleted := cmd.Flags().Bool("deleted", false, "of a secret that is deleted as a whole")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		list := client.Versions
		if *deleted {
			list = client.DeletedVersions
		}
		found, err := list(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return s.printVersions(found, output.value)
	})
	return cmd
}

func (s *session) printVersions(found []sdk.Version, output string) error {
	return printAll(s, output, found, func(v sdk.Version) string { return fmt.Sprint(v.Version) }, func() error {
		rows := make([][]string, len(found))
		for i, v := range found {
			rows[i] = []string{fmt.Sprint(v.Version), orDash(strings.Join(v.Labels, ",")), s.stateOf(v), s.age(v.CreatedAt), v.CreatedBy}
		}
		return table(s.out, []string{"VERSION", "LABELS", "STATE", "AGE", "BY"}, rows)
	})
}

// stateOf is the state of v, and since when it is not live.
func (s *session) stateOf(v sdk.Version) string {
	since := time.Time{}
	switch v.State {
	case sdk.VersionDeleted:
		since = v.DeletedAt
	case sdk.VersionDestroyed:
		since = v.DestroyedAt
	}
	if since.IsZero() {
		return v.State
	}
	return fmt.Sprintf("%s %s ago", v.State, s.age(since))
}

func (s *session) rollback() *cobra.Command {
	var to, expected int64
	cmd := &cobra.Command{
		Use:   "rollback PATH",
		Short: "Make an earlier version of a secret current again",
		Long: `Make an earlier version of a secret current again: the previous one, or that of
--to-version. Nothing is written anew, and the version that was current becomes the
previous one, so that a second rollback undoes the first. What uses the secret is told at
once, as by rotate. Needs the rotate capability.`,
		Example: `  coffer rollback production/payments/database
  coffer rollback production/payments/database --to-version 3`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "rotate"},
	}
	cmd.Flags().Int64Var(&to, "to-version", 0, "version to make current; the previous one when not given")
	cmd.Flags().Int64Var(&expected, "expect-version", 0, "roll back only when this is the current version")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("to-version") && to < 1 {
			return usagef("--to-version %d: versions count from 1", to)
		}
		request := sdk.RollbackRequest{Version: to}
		if cmd.Flags().Changed("expect-version") {
			request.ExpectedVersion = &expected
		}
		return s.relabel(cmd, args[0], output.value, func(ctx context.Context, client *sdk.Client) (sdk.Metadata, error) {
			return client.Rollback(ctx, args[0], request)
		})
	})
	return cmd
}

func (s *session) promote() *cobra.Command {
	var expected int64
	cmd := &cobra.Command{
		Use:   "promote PATH",
		Short: "Make the pending version of a secret current",
		Long: `Make the version that was written with put --pending or rotate --pending current; the
version that was current becomes the previous one. What uses the secret is told at once,
as by rotate. --dry-run shows that version, for which it needs the list or the read capability
besides. Needs the rotate capability.`,
		Example: `  coffer rotate production/payments/database --file new.json --pending
  coffer get production/payments/database --version pending
  coffer promote production/payments/database`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "rotate"},
	}
	cmd.Flags().Int64Var(&expected, "expect-version", 0, "promote only when this is the current version")
	var dryRun bool
	addDryRun(cmd, &dryRun, "become current")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		request := sdk.PromoteRequest{}
		if cmd.Flags().Changed("expect-version") {
			request.ExpectedVersion = &expected
		}
		if dryRun {
			client, err := s.client(cmd.Context())
			if err != nil {
				return err
			}
			return s.showPromotion(cmd.Context(), client, args[0], request.ExpectedVersion, output.value)
		}
		return s.relabel(cmd, args[0], output.value, func(ctx context.Context, client *sdk.Client) (sdk.Metadata, error) {
			return client.Promote(ctx, args[0], request)
		})
	})
	return cmd
}

// relabel runs a call that makes another version current, and prints that version.
func (s *session) relabel(cmd *cobra.Command, path, output string, call func(context.Context, *sdk.Client) (sdk.Metadata, error)) error {
	client, err := s.client(cmd.Context())
	if err != nil {
		return err
	}
	now, err := call(cmd.Context(), client)
	if err != nil {
		return err
	}
	return s.printChanged(now, output, fmt.Sprintf("%s version %d is current", path, now.Version))
}

// printChanged prints what a change made of a secret; text is for people.
func (s *session) printChanged(now sdk.Metadata, output, text string) error {
	return s.print(output, result{data: now, names: []string{now.Path}, text: s.line("%s", text)})
}
