package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

func (s *session) consumers() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "consumers PATH",
		Short: "List who has which version of a secret",
		Long: `List who has which version of a secret. Needs the audit or the rotate capability.

A VaultSecret has the version that its Secret holds; WORKLOADS says how many of the
workloads that use the Secret run with that version, and STATE is the reason of its
condition Ready. A service account or a user that reads over the API has the version that
it read last (Reading), and one that it read before for as long as a program may keep it
in memory (Cached).`,
		Example: "  coffer consumers production/payments/database",
		Args:    onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "audit"},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		found, err := client.Consumers(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return s.printConsumers(found, output.value)
	})
	return cmd
}

func (s *session) printConsumers(found []sdk.Consumer, output string) error {
	switch output {
	case formatName:
		return lines(s.out, namesOf(found, consumerName))
	case formatTable:
		rows := make([][]string, len(found))
		for i, c := range found {
			rows[i] = []string{c.Kind, c.Cluster, orDash(c.Namespace), c.Name, fmt.Sprint(c.Version), rolledOf(c), c.State, s.age(c.Since)}
		}
		return table(s.out, []string{"KIND", "CLUSTER", "NAMESPACE", "NAME", "VERSION", "WORKLOADS", "STATE", "SINCE"}, rows)
	default:
		return marshal(s.out, output, orEmpty(found))
	}
}

// consumerName is "VaultSecret/payments/database", or "User/alice".
func consumerName(c sdk.Consumer) string {
	if c.Namespace == "" {
		return c.Kind + "/" + c.Name
	}
	return c.Kind + "/" + c.Namespace + "/" + c.Name
}

// rolledOf is "2/3": how many of the workloads of a VaultSecret run with its version.
func rolledOf(c sdk.Consumer) string {
	if c.Workloads == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", c.RolledOut, c.Workloads)
}
