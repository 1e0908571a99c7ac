package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

func (s *session) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list [PREFIX]",
		Aliases: []string{"ls"},
		Short:   "List secrets, never their values",
		Long: `List the secrets below a prefix that you may list, never their values. A prefix ends at a
segment: production/pay does not select production/payments/database.`,
		Example:           "  coffer list production/payments",
		Args:              atMostOnePrefix,
		ValidArgsFunction: s.completePath,
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		prefix := strings.Join(args, "")
		found, err := client.List(cmd.Context(), prefix)
		if err != nil {
			return err
		}
		return s.printList(found, output.value, prefix)
	})
	return cmd
}

func atMostOnePrefix(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("expected at most one prefix, got %d arguments", len(args))
	}
	return nil
}

func (s *session) printList(found []sdk.Metadata, output, prefix string) error {
	return printAll(s, output, found, func(m sdk.Metadata) string { return m.Path }, func() error {
		if len(found) == 0 {
			return s.nothing("No secrets that you may list", prefix)
		}
		rows := make([][]string, len(found))
		for i, m := range found {
			rows[i] = []string{m.Path, fmt.Sprint(m.Version), s.age(m.CreatedAt), m.CreatedBy, tagsOf(m.Tags), m.Description}
		}
		return table(s.out, []string{"PATH", "VERSION", "AGE", "BY", "TAGS", "DESCRIPTION"}, rows)
	})
}

// nothing says on the error stream that there is nothing, as kubectl does.
func (s *session) nothing(what, prefix string) error {
	if prefix != "" {
		what += " below " + prefix
	}
	_, err := fmt.Fprintln(s.err, what+".")
	return err
}

func (s *session) rotation() *cobra.Command {
	parent := &cobra.Command{
		Use: "rotation", Short: "See what is to be rotated, and rotate it", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(s.rotationList(), s.rotationOverdue(), s.rotationShow(), s.rotationRun(), s.rotationApprove(), s.rotationCancel())
	return parent
}

// listsBelow has cmd list what find finds below a prefix.
func listsBelow[T any](s *session, cmd *cobra.Command, find func(*sdk.Client, context.Context, string) ([]T, error), show func(found []T, output, prefix string) error) {
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		prefix := strings.Join(args, "")
		found, err := find(client, cmd.Context(), prefix)
		if err != nil {
			return err
		}
		return show(found, output.value, prefix)
	})
}

// printAll prints a list, which is never null as data.
func printAll[T any](s *session, output string, found []T, name func(T) string, text func() error) error {
	return s.print(output, result{data: orEmpty(found), names: namesOf(found, name), text: text})
}

func namesOf[T any](items []T, name func(T) string) []string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = name(item)
	}
	return names
}

func orEmpty[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func tagsOf(tags map[string]string) string {
	parts := make([]string, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		parts = append(parts, key+"="+tags[key])
	}
	return strings.Join(parts, ",")
}
