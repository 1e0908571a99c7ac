package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

func (s *session) explain() *cobra.Command {
	query := sdk.ExplainQuery{}
	account := ""
	cmd := &cobra.Command{
		Use:   "explain PATH",
		Short: "Explain whether someone may do something on a path",
		Long: `Explain whether someone may do something on a path, and which rules decide it. Without
--service-account or --user the question is about you. About others it needs the audit
capability on the path.`,
		Example: `  coffer explain production/payments/database --service-account payments/api
  coffer explain production/payments/database --user alice --group sre --capability rotate`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "audit"},
	}
	f := cmd.Flags()
	f.StringVar(&account, "service-account", "", "service account to ask about, as namespace/name")
	f.StringVar(&query.UID, "uid", "", "UID of the service account to suppose; that of the one which exists when empty")
	f.StringVar(&query.User, "user", "", "user to ask about")
	f.StringSliceVar(&query.Groups, "group", nil, "group that the user is in; may be repeated")
	f.StringVar(&query.Environment, "environment", "", "environment to suppose; that of the namespace when empty")
	f.StringVar(&query.Capability, "capability", "read", "read, list, write, rotate, delete, share or audit")
	cmd.MarkFlagsMutuallyExclusive("service-account", "user")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		query.Path = args[0]
		if query.UID != "" && account == "" {
			return usagef("--uid is of a service account: name it with --service-account")
		}
		if account != "" {
			namespace, name, ok := strings.Cut(account, "/")
			if !ok || namespace == "" || name == "" {
				return usagef("--service-account %q is not namespace/name", account)
			}
			query.Namespace, query.ServiceAccount = namespace, name
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		found, err := client.Explain(cmd.Context(), query)
		if err != nil {
			return err
		}
		return s.print(output.value, result{data: found, text: func() error { return s.printExplanation(found) }})
	})
	return cmd
}

func (s *session) printExplanation(e sdk.Explanation) error {
	who := e.Subject
	if e.Environment != "" {
		who += " (environment " + e.Environment + ")"
	}
	verdict := "may NOT " + e.Capability
	if e.Allowed {
		verdict = "may " + e.Capability
	}
	what := e.Path
	if !e.Until.IsZero() {
		what += " until " + stamp(e.Until)
	}
	why := "nothing allows it"
	if e.Rule != "" {
		why = "decided by " + e.Rule
	}
	if _, err := fmt.Fprintf(s.out, "%s %s %s: %s\n", printable(who), verdict, what, printable(why)); err != nil {
		return err
	}
	if len(e.Matched) == 0 {
		return nil
	}
	rows := make([][]string, len(e.Matched))
	for i, m := range e.Matched {
		rows[i] = []string{m.Rule, m.Effect, orDash(m.Path), orDash(m.Subject), outcome(m, e.Rule)}
	}
	if _, err := fmt.Fprintln(s.out); err != nil {
		return err
	}
	return table(s.out, []string{"RULE", "EFFECT", "PATH", "SUBJECT", "OUTCOME"}, rows)
}

// outcome says what came of a rule, given the one that decided.
func outcome(m sdk.RuleMatch, decider string) string {
	if m.Outcome == "applied" && m.Rule == decider {
		return "decides"
	}
	switch m.Outcome {
	case "expired":
		return "expired at " + stamp(m.ExpiresAt)
	case "other-uid":
		return "another account of the name"
	case "other-environment":
		return "only for environment " + strings.Join(m.Environments, ", ")
	default:
		return m.Outcome
	}
}

func (s *session) whoami() *cobra.Command {
	cmd := &cobra.Command{
		Use: "whoami", Short: "Say who the server takes you to be", Args: noArgs,
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, _ []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		me, err := client.Whoami(cmd.Context())
		if err != nil {
			return err
		}
		name := nameOf(me)
		return s.print(output.value, result{data: me, names: []string{name}, text: func() error {
			return table(s.out, []string{"KIND", "NAME", "CLUSTER", "ENVIRONMENT", "GROUPS"}, [][]string{
				{me.Kind, name, me.Cluster, orDash(me.Environment), strings.Join(me.Groups, ",")},
			})
		}})
	})
	return cmd
}

// nameOf is NAMESPACE/NAME of a service account, and the name of a user.
func nameOf(me sdk.Identity) string {
	if me.Namespace == "" {
		return me.Name
	}
	return me.Namespace + "/" + me.Name
}
