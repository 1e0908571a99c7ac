package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (s *session) remove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete PATH",
		Short: "Delete a secret",
		Long: `Delete a secret: it can be neither read nor listed, and Secrets synced from it are removed
unless their VaultSecret says otherwise. A later put goes on with the next version number.

You are asked to confirm by typing the path, unless --yes is given. Needs the delete
capability.`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "delete"},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		if !yes {
			if err := s.confirm(args[0]); err != nil {
				return err
			}
		}
		client, err := s.client()
		if err != nil {
			return err
		}
		ctx, cancel := s.limit(cmd)
		defer cancel()
		if err := client.Delete(ctx, args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "%s deleted\n", args[0])
		return err
	})
	return cmd
}

// confirm asks for what is to be deleted to be typed.
func (s *session) confirm(path string) error {
	if _, ok := terminalOf(s.in); !ok {
		return usagef("this asks for confirmation, and standard input is not a terminal; give --yes")
	}
	_, _ = fmt.Fprintf(s.err, "This deletes %s. Type it again to go on: ", path)
	answer, err := bufio.NewReader(s.in).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the confirmation: %w", err)
	}
	if strings.TrimSpace(answer) != path {
		return errors.New("not confirmed; nothing was deleted")
	}
	return nil
}
