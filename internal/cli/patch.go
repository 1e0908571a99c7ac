package cli

import (
	"fmt"

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
}

func (p *patchFlags) bind(cmd *cobra.Command) {
	p.properties.bind(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&p.remove, "remove", nil, "property to remove; may be repeated")
	flags.BoolVar(&p.trimNewline, "trim-newline", false, "drop one newline from the end of each value that is read")
	flags.Int64Var(&p.expectVersion, "expect-version", 0, "patch only when this is the current version")
	flags.StringVar(&p.idempotencyKey, "idempotency-key", "", "makes repeated commands one write: for a day, the same key writes no second version")
}

// request makes the request.
func (p *patchFlags) request(s *session, cmd *cobra.Command, path string) (sdk.PatchRequest, error) {
	r := sdk.PatchRequest{Properties: map[string]any{}, IdempotencyKey: p.idempotencyKey}
	if !p.properties.given() && len(p.remove) == 0 {
		return r, usagef("nothing to patch; give --property, --property-literal or --remove")
	}
	if cmd.Flags().Changed("expect-version") {
		r.ExpectedVersion = &p.expectVersion
	}
	set, err := s.gatherProperties(path, p.properties, p.trimNewline)
	if err != nil {
		return r, err
	}
	for name, value := range set {
		r.Properties[name] = value
	}
	for _, name := range p.remove {
		if _, twice := r.Properties[name]; twice {
			return r, usagef("the property %q is given twice", name)
		}
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

Values are taken as with put --property. Nothing of the value is shown. Needs the write
capability.`,
		Example: `  coffer patch production/payments/database --property password
  coffer patch production/payments/database --property-literal user=app --property password=@new.txt --remove old`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "write"},
	}
	flags.bind(cmd)
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
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
