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
	cmd.AddCommand(s.forgetConsumers())
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

// consumersPath is what policies call the record of consumers.
const consumersPath = "sys/consumers"

// forgottenConsumers is what consumers forget did.
type forgottenConsumers struct {
	Cluster string `json:"cluster"`
	sdk.ForgottenConsumers
}

func (s *session) forgetConsumers() *cobra.Command {
	var (
		cluster     string
		yes, dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "forget --cluster NAME",
		Short: "Forget who has which version in a cluster that is no more",
		Long: `Forget who has which version of all secrets in a cluster that is no more. Its VaultSecrets
stay in the list of consumers otherwise, since nobody says that they are gone, and rotations wait
for them. An operator that is still there tells all anew within five minutes; a rotation does not
wait for its VaultSecrets until then. The cluster that serves you is not forgotten.

You are asked to confirm by typing the name, unless --yes is given. --dry-run shows how many
VaultSecrets would be forgotten, and when the cluster last told of a change. Needs the delete
capability on sys/consumers.`,
		Example: `  coffer consumers forget --cluster west --dry-run
  coffer consumers forget --cluster west`,
		Args: noArgs, Annotations: map[string]string{explainedBy: "delete", explainedPath: consumersPath},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "name of the cluster, as coffer consumers shows it")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	addDryRun(cmd, &dryRun, "be forgotten")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, _ []string) error {
		if cluster == "" {
			return usagef("--cluster is missing: name the cluster that is no more")
		}
		if !yes && !dryRun {
			if err := s.confirmChange("forgets all consumers in cluster "+cluster, cluster); err != nil {
				return err
			}
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		ctx, cancel := s.limit(cmd)
		defer cancel()
		found, err := client.ForgetConsumers(ctx, sdk.ForgetConsumersRequest{Cluster: cluster, DryRun: dryRun})
		if err != nil {
			return err
		}
		return s.print(output.value, result{data: forgottenConsumers{cluster, found}, names: []string{cluster}, text: func() error {
			return s.sayForgotten(cluster, found, dryRun)
		}})
	})
	return cmd
}

func (s *session) sayForgotten(cluster string, found sdk.ForgottenConsumers, dryRun bool) error {
	if found.Consumers == 0 {
		_, err := fmt.Fprintf(s.out, "No consumers in cluster %s are known.\n", cluster)
		return err
	}
	what := fmt.Sprintf("%s of %s in cluster %s", count(int64(found.Consumers), "VaultSecret"), count(int64(found.Paths), "path"), cluster)
	if dryRun {
		return s.wouldDo("%s, which last told of a change on %s, would be forgotten", what, stamp(found.SeenAt))
	}
	_, err := fmt.Fprintln(s.out, what+" forgotten")
	return err
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
