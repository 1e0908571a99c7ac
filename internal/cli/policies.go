package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// policiesPath is what policies name themselves.
const policiesPath = "sys/policies"

func (s *session) policy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show the VaultPolicies that are in force",
		Long: `Show the VaultPolicies that the vault has verified and decides by. What kubectl get vaultpolicies
shows is what they are to be: the operator brings it to the vault within a second. Who may do something,
and by which rule, coffer explain says.

Needs the audit capability on the path sys/policies, which a rule must name: ** does not reach it.`,
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(s.policyList(), s.policyShow())
	return cmd
}

func (s *session) policyList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the VaultPolicies in force, and since when",
		Long: `List the VaultPolicies in force in your cluster, with the number of their rules, and since when they are: all
change together. Needs the audit capability on sys/policies.`,
		Args: noArgs, Annotations: map[string]string{explainedBy: "audit", explainedPath: policiesPath},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, _ []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		found, err := client.Policies(cmd.Context())
		if err != nil {
			return err
		}
		return s.print(output.value, result{
			data: found, names: namesOf(found.Items, func(p sdk.PolicySummary) string { return p.Name }),
			text: func() error { return s.printPolicies(found) },
		})
	})
	return cmd
}

func (s *session) printPolicies(found sdk.PolicyList) error {
	if err := s.printPolicySet(found.PolicySet); err != nil {
		return err
	}
	rows := make([][]string, len(found.Items))
	for i, p := range found.Items {
		rows[i] = []string{p.Name, strconv.Itoa(p.Rules)}
	}
	return table(s.out, []string{"NAME", "RULES"}, rows)
}

// printPolicySet is the head of what follows.
func (s *session) printPolicySet(p sdk.PolicySet) error {
	_, err := fmt.Fprintf(s.out, "Policies of cluster %s, revision %d, in force since %s\n\n", printable(p.Cluster), p.Revision, stamp(p.Since))
	return err
}

func (s *session) policyShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show the rules of a VaultPolicy that are in force",
		Long: `Show the rules of a VaultPolicy that are in force, by the numbers that audit entries and coffer explain
name. As JSON and YAML they are as in the VaultPolicy's spec, with their numbers as index. Rules that had ended
when the policies were synced are not there. Needs the audit capability on sys/policies.`,
		Example: `  coffer policy show payments
  coffer policy show payments -o yaml`,
		Args: onePolicy, Annotations: map[string]string{explainedBy: "audit", explainedPath: policiesPath},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		found, err := client.Policy(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return s.print(output.value, result{data: found, names: []string{found.Name}, text: func() error { return s.printPolicy(found) }})
	})
	return cmd
}

func onePolicy(_ *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usagef("expected the name of one VaultPolicy; coffer policy list lists them")
	}
	return nil
}

func (s *session) printPolicy(p sdk.Policy) error {
	if err := s.printPolicySet(p.PolicySet); err != nil {
		return err
	}
	rows := make([][]string, len(p.Rules))
	for i, r := range p.Rules {
		rows[i] = []string{
			strconv.Itoa(r.Index), r.Effect, strings.Join(r.Paths, ","), strings.Join(r.Capabilities, ","), strings.Join(subjectsOf(r.Subjects), ", "),
			orDash(strings.Join(r.Environments, ",")), s.endOf(r.ExpiresAt),
		}
	}
	return table(s.out, []string{"RULE", "EFFECT", "PATHS", "CAPABILITIES", "SUBJECTS", "ENVIRONMENTS", "ENDS"}, rows)
}

// subjectsOf names subjects as coffer explain does.
func subjectsOf(s sdk.PolicySubjects) []string {
	accounts := namesOf(s.ServiceAccounts, func(a sdk.PolicyServiceAccount) string {
		name := "serviceaccount " + a.Namespace + "/" + a.Name
		if a.UID != "" {
			name += " with UID " + a.UID
		}
		return name
	})
	return slices.Concat(accounts, namesOf(s.Users, func(u string) string { return "user " + u }), namesOf(s.Groups, func(g string) string { return "group " + g }))
}

// endOf says when a rule ends, or that it has since the policies were synced.
func (s *session) endOf(t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case !s.now().Before(t):
		return "ended " + stamp(t)
	}
	return stamp(t)
}
