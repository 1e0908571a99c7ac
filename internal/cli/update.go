package cli

import (
	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

func (s *session) update() *cobra.Command {
	var (
		flags  metadataFlags
		noTags bool
		dryRun bool
		expect int64
	)
	cmd := &cobra.Command{
		Use:   "update PATH",
		Short: "Change what stands beside the value of a secret",
		Long: `Change description, tags, reminder, maximum of versions or who may read a secret, without a
new version. What no flag names stays. A lowered maximum takes effect with the next
write; --dry-run shows the versions that it would then destroy, for which it needs the list or
the read capability besides. Needs the share capability to change who may read, and write for
all else.`,
		Example: `  coffer update production/payments/database --description 'main database' --tag team=payments
  coffer update production/payments/database --allow-service payments/api --allow-environment production`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "write"},
	}
	flags.bind(cmd)
	cmd.Flags().BoolVar(&noTags, "no-tags", false, "take all tags away")
	cmd.Flags().Int64Var(&expect, "expect-version", 0, "update only when this is the current version")
	cmd.MarkFlagsMutuallyExclusive("tag", "no-tags")
	addDryRun(cmd, &dryRun, "be destroyed by the next write, as --max-versions has it")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		m, err := flags.read(cmd)
		if err != nil {
			return err
		}
		if noTags {
			m.Tags = map[string]string{}
		}
		if m.Description == nil && m.Tags == nil && m.RotateAfterDays == nil && m.MaxVersions == nil && m.Access == nil {
			return usagef("nothing to update; give --description, --tag, --rotate-after-days, --max-versions or --allow-service")
		}
		if cmd.Flags().Changed("expect-version") {
			m.ExpectedVersion = &expect
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		if dryRun {
			return s.showUpdate(cmd.Context(), client, args[0], m, output.value)
		}
		now, err := client.Update(cmd.Context(), args[0], m)
		if err != nil {
			return err
		}
		return s.printChanged(now, output.value, now.Path+" updated")
	})
	return cmd
}

// metadataFlags are the flags for what stands beside a value.
type metadataFlags struct {
	description     string
	tags            []string
	rotateAfterDays int
	maxVersions     int
	allowServices   []string
	allowEnvs       []string
	allowNobody     bool
}

func (m *metadataFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&m.description, "description", "", "what the secret is for")
	flags.StringArrayVar(&m.tags, "tag", nil, "key=value; replaces all tags; may be repeated")
	flags.IntVar(&m.rotateAfterDays, "rotate-after-days", 0, "remind of a rotation after this many days; 0 for never")
	flags.IntVar(&m.maxVersions, "max-versions", 0, "keep this many versions, and destroy the oldest beyond; 0 for all")
	flags.StringSliceVar(&m.allowServices, "allow-service", nil, "service account that may read: namespace/name, namespace/* or *; may be repeated")
	flags.StringSliceVar(&m.allowEnvs, "allow-environment", nil, "environment in which it may, or *; may be repeated")
	flags.BoolVar(&m.allowNobody, "allow-nobody", false, "take away what --allow-service gave")
	cmd.MarkFlagsRequiredTogether("allow-service", "allow-environment")
	cmd.MarkFlagsMutuallyExclusive("allow-service", "allow-nobody")
}

// read returns what the flags change: what none names is nil.
func (m *metadataFlags) read(cmd *cobra.Command) (sdk.UpdateRequest, error) {
	r := sdk.UpdateRequest{}
	given := cmd.Flags().Changed
	if given("description") {
		r.Description = &m.description
	}
	if given("rotate-after-days") {
		r.RotateAfterDays = &m.rotateAfterDays
	}
	if given("max-versions") {
		r.MaxVersions = &m.maxVersions
	}
	if len(m.allowServices) > 0 || m.allowNobody {
		r.Access = &sdk.AccessPolicy{
			AllowedServices: append([]string{}, m.allowServices...), AllowedEnvironments: append([]string{}, m.allowEnvs...),
		}
	}
	var err error
	if r.Tags, err = parseTags(m.tags); err != nil {
		return r, err
	}
	return r, nil
}
