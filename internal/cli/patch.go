package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// patchFlags say which properties change, and how.
type patchFlags struct {
	properties     propertyFlags
	remove         []string
	trimNewline    bool
	expectVersion  int64
	idempotencyKey string
	dryRun         bool
}

func (p *patchFlags) bind(cmd *cobra.Command) {
	p.properties.bind(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&p.remove, "remove", nil, "property to remove; may be repeated")
	flags.BoolVar(&p.trimNewline, "trim-newline", false, "drop one newline from the end of each value that is read")
	flags.Int64Var(&p.expectVersion, "expect-version", 0, "patch only when this is the current version")
	flags.StringVar(&p.idempotencyKey, "idempotency-key", "", "makes repeated commands one write: for a day, the same key writes no second version")
	addDryRun(cmd, &p.dryRun, "be destroyed, as --max-versions of put or update has it")
}

// check refuses what could make no patch, before a value is read.
func (p *patchFlags) check(terminal bool) error {
	names, err := p.properties.names(terminal)
	if err != nil {
		return err
	}
	if len(names) == 0 && len(p.remove) == 0 {
		return usagef("nothing to patch; give --property, --property-literal or --remove")
	}
	for i, name := range p.remove {
		if slices.Contains(names, name) || slices.Contains(p.remove[:i], name) {
			return givenTwice(name)
		}
	}
	return nil
}

// expected is the version that must be the current one, nil for any.
func (p *patchFlags) expected(cmd *cobra.Command) *int64 {
	if !cmd.Flags().Changed("expect-version") {
		return nil
	}
	return &p.expectVersion
}

// request makes the request.
func (p *patchFlags) request(s *session, cmd *cobra.Command, path string) (sdk.PatchRequest, error) {
	r := sdk.PatchRequest{Properties: map[string]any{}, ExpectedVersion: p.expected(cmd), IdempotencyKey: p.idempotencyKey}
	set, err := s.gatherProperties(path, p.properties, p.trimNewline)
	if err != nil {
		return r, err
	}
	for name, value := range set {
		r.Properties[name] = value
	}
	for _, name := range p.remove {
		r.Properties[name] = nil
	}
	return r, nil
}

func (s *session) patch() *cobra.Command {
	var flags patchFlags
	cmd := &cobra.Command{
		Use:   "patch PATH",
		Short: "Change properties of a secret and keep the others",
		Long: `Write a new version of a secret in which the named properties are set or removed, and the
others are as they are in the current one. The value must be a JSON object, such as put
--property makes; what else a version has stays. Two patches at one time both take effect.

Values are taken as with put --property. Nothing of the value is shown. --dry-run shows the
versions that the maximum of versions would have destroyed, as with put. Needs the write
capability.`,
		Example: `  coffer patch production/payments/database --property password
  coffer patch production/payments/database --property-literal user=app --property password=@new.txt --remove old`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "write"},
	}
	flags.bind(cmd)
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		if err := flags.check(s.onTerminal()); err != nil {
			return err
		}
		if flags.dryRun {
			intended := intendedWrite{changes: sdk.UpdateRequest{ExpectedVersion: flags.expected(cmd)}, capability: "write", mustExist: true}
			return s.showWrite(cmd, args[0], intended, output.value)
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		request, err := flags.request(s, cmd, args[0])
		if err != nil {
			return err
		}
		ctx, cancel := s.limit(cmd)
		defer cancel()
		written, err := client.Patch(ctx, args[0], request)
		if err != nil {
			return err
		}
		return s.printChanged(written, output.value, fmt.Sprintf("%s version %d written", written.Path, written.Version))
	})
	return cmd
}
