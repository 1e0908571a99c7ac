package cli

import "github.com/spf13/cobra"

func (s *session) contexts() *cobra.Command {
	cmd := &cobra.Command{
		Use: "context", Short: "Choose among the installations that you have logged in to", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(s.contextList(), s.contextUse(), s.contextShow())
	return cmd
}

func completeLogins(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const nothingElse = cobra.ShellCompDirectiveNoFileComp
	remembered, err := readLogins()
	if err != nil || len(args) > 0 {
		return nil, nothingElse
	}
	return namesOf(remembered.Logins, nameOfLogin), nothingElse
}

func (s *session) contextList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the logins", Args: noArgs,
		Long: "List what coffer login has remembered; the current one has an asterisk.",
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(*cobra.Command, []string) error {
		remembered, err := readLogins()
		if err != nil {
			return err
		}
		return s.printLogins(remembered, output.value)
	})
	return cmd
}

func (s *session) printLogins(remembered logins, output string) error {
	remembered.Logins = orEmpty(remembered.Logins)
	return s.print(output, result{data: remembered, names: namesOf(remembered.Logins, nameOfLogin), text: func() error { return s.tableOf(remembered) }})
}

func (s *session) tableOf(remembered logins) error {
	if len(remembered.Logins) == 0 {
		return s.nothing("No logins", "")
	}
	rows := make([][]string, len(remembered.Logins))
	for i, l := range remembered.Logins {
		current := ""
		if l.Name == remembered.Current {
			current = "*"
		}
		rows[i] = []string{current, l.Name, l.Context, l.Namespace, l.ServiceAccount, orDash(l.Address)}
	}
	return table(s.out, []string{"CURRENT", "NAME", "CONTEXT", "NAMESPACE", "SERVICE ACCOUNT", "ADDRESS"}, rows)
}

func nameOfLogin(l login) string { return l.Name }

// printLogin prints what became of a login; text is for people.
func (s *session) printLogin(l login, output string, text func() error) error {
	return s.print(output, result{data: l, names: []string{l.Name}, text: text})
}

func (s *session) contextUse() *cobra.Command {
	cmd := &cobra.Command{
		Use: "use NAME", Short: "Make a login current",
		Example: "  coffer context use staging",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one login; coffer context list shows which there are")
			}
			return nil
		},
		ValidArgsFunction: completeLogins,
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(_ *cobra.Command, args []string) error {
		remembered, err := readLogins()
		if err != nil {
			return err
		}
		l, err := remembered.asked(args)
		if err != nil {
			return err
		}
		remembered.Current = l.Name
		if err := remembered.write(); err != nil {
			return err
		}
		return s.printLogin(l, output.value, s.line("Login %s is current.", l.Name))
	})
	return cmd
}

func (s *session) contextShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [NAME]", Short: "Show the current login, or the named one",
		Args: atMostOneName, ValidArgsFunction: completeLogins,
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(_ *cobra.Command, args []string) error {
		remembered, err := readLogins()
		if err != nil {
			return err
		}
		l, err := remembered.asked(args)
		if err != nil {
			return err
		}
		return s.printLogin(l, output.value, func() error { return s.tableOf(logins{Current: remembered.Current, Logins: []login{l}}) })
	})
	return cmd
}
