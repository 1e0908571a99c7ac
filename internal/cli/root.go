package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Root returns the whole tree of commands, for those who document it.
func Root() *cobra.Command { return (&session{}).root("coffer") }

func (s *session) root(displayName string) *cobra.Command {
	root := &cobra.Command{
		Use:   "coffer",
		Short: "Put, read, rotate and audit secrets in a Coffer vault",
		Long: `Put, read, rotate and audit secrets in a Coffer vault.

A secret is a path, such as production/payments/database, with numbered versions.
Who you are comes from a Kubernetes token for Coffer's audience: one that the environment gives, or
one that your kubeconfig gets for the service account of coffer login. A path that does not
exist and one that you may not use give the same answer.

` + ExitCodes,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: displayName},
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	s.connection.bind(root.PersistentFlags())
	_ = root.RegisterFlagCompletionFunc("context", s.connection.completeContexts)
	root.AddGroup(
		&cobra.Group{ID: "secrets", Title: "Secrets:"},
		&cobra.Group{ID: "oversight", Title: "Oversight:"},
		&cobra.Group{ID: "access", Title: "Access:"},
	)
	for _, cmd := range []*cobra.Command{
		s.get(), s.put(), s.patch(), s.rotate(), s.update(), s.list(), s.describe(), s.versions(), s.rollback(), s.promote(), s.remove(), s.undelete(), s.destroy(),
		s.importSecrets(), s.scan(), s.runProcess(),
	} {
		cmd.GroupID = "secrets"
		root.AddCommand(cmd)
	}
	for _, cmd := range []*cobra.Command{s.status(), s.audit(), s.rotation(), s.explain(), s.policy(), s.consumers(), s.leak(), s.keyring(), s.notifications(), s.backup(), s.restoreBackup()} {
		cmd.GroupID = "oversight"
		root.AddCommand(cmd)
	}
	for _, cmd := range []*cobra.Command{s.loginCommand(), s.logout(), s.whoami(), s.contexts()} {
		cmd.GroupID = "access"
		root.AddCommand(cmd)
	}
	root.AddCommand(s.version())
	return root
}

// onePath takes exactly one argument, the path.
func onePath(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("the path is missing; write it like production/payments/database")
	case len(args) > 1:
		return usagef("expected one path, got %d arguments; a value is never an argument: give it on standard input or with --file", len(args))
	}
	return nil
}

// noArgs takes no arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, got %q", cmd.Name(), args[0])
	}
	return nil
}

// usageError is a mistake on the command line.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}
