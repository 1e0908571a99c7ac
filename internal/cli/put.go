package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// Lengths of generated values. 16 characters are 96 bits, out of reach of guessing; 32
// is as long as any system takes.
const (
	minGenerated     = 16
	defaultGenerated = 32
	maxGenerated     = 4096
)

// writeFlags are the flags of put and rotate.
type writeFlags struct {
	source          valueSource
	generate        int
	description     string
	tags            []string
	rotateAfterDays int
	allowServices   []string
	allowEnvs       []string
	allowNobody     bool
	expectVersion   int64
}

func (w *writeFlags) bind(cmd *cobra.Command) {
	w.source.bind(cmd)
	flags := cmd.Flags()
	flags.IntVar(&w.generate, "generate", 0, "make a random value of this many characters, 32 when no number is given")
	flags.Lookup("generate").NoOptDefVal = fmt.Sprint(defaultGenerated)
	flags.StringVar(&w.description, "description", "", "what the secret is for")
	flags.StringArrayVar(&w.tags, "tag", nil, "key=value; replaces all tags; may be repeated")
	flags.IntVar(&w.rotateAfterDays, "rotate-after-days", 0, "remind of a rotation after this many days; 0 for never")
	flags.StringSliceVar(&w.allowServices, "allow-service", nil, "service account that may read: namespace/name, namespace/* or *; may be repeated")
	flags.StringSliceVar(&w.allowEnvs, "allow-environment", nil, "environment in which it may, or *; may be repeated")
	flags.BoolVar(&w.allowNobody, "allow-nobody", false, "take away what --allow-service gave")
	flags.Int64Var(&w.expectVersion, "expect-version", 0, "write only when this is the current version; 0: only when the path does not exist")
	cmd.MarkFlagsRequiredTogether("allow-service", "allow-environment")
	cmd.MarkFlagsMutuallyExclusive("allow-service", "allow-nobody")
	cmd.MarkFlagsMutuallyExclusive("file", "generate")
}

// request makes the request; what no flag names stays as the path has it.
func (s *session) request(cmd *cobra.Command, path string, w *writeFlags) (sdk.PutRequest, error) {
	r := sdk.PutRequest{}
	given := cmd.Flags().Changed
	if given("description") {
		r.Description = &w.description
	}
	if given("rotate-after-days") {
		r.RotateAfterDays = &w.rotateAfterDays
	}
	if given("expect-version") {
		r.ExpectedVersion = &w.expectVersion
	}
	if len(w.allowServices) > 0 || w.allowNobody {
		r.Access = &sdk.AccessPolicy{
			AllowedServices: append([]string{}, w.allowServices...), AllowedEnvironments: append([]string{}, w.allowEnvs...),
		}
	}
	for _, tag := range w.tags {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" {
			return r, usagef("--tag %q is not key=value", tag)
		}
		if r.Tags == nil {
			r.Tags = map[string]string{}
		}
		r.Tags[key] = value
	}
	if given("generate") {
		if w.generate < minGenerated || w.generate > maxGenerated {
			return r, usagef("--generate=%d: give a length from %d to %d", w.generate, minGenerated, maxGenerated)
		}
		r.Value = generate(w.generate)
		return r, nil
	}
	var err error
	r.Value, err = s.readValue(path, w.source)
	return r, err
}

func (s *session) put() *cobra.Command {
	var flags writeFlags
	cmd := &cobra.Command{
		Use:   "put PATH",
		Short: "Write a new version of a secret",
		Long: `Write a new version of a secret, and make the secret when there is none.

The value is taken byte for byte from standard input or from --file; on a terminal you
are asked for it, without echo. A value that is a JSON object of strings, such as
{"user":"app","password":"…"}, has properties: each becomes a key of a synced Secret.

Description, tags, reminder and access stay as they are unless a flag changes them.
Needs the write capability, and share to change who may read.`,
		Example: `  printf %s "$PASSWORD" | coffer put production/payments/database \
    --allow-service payments/api --allow-environment production
  coffer put production/payments/database --file database.json --rotate-after-days 90
  coffer put production/payments/session-key --generate=64`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "write"},
	}
	flags.bind(cmd)
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		return s.write(cmd, args[0], &flags, output.value, (*sdk.Client).Put)
	})
	return cmd
}

func (s *session) rotate() *cobra.Command {
	var flags writeFlags
	cmd := &cobra.Command{
		Use:   "rotate PATH",
		Short: "Write a new version of a secret that exists",
		Long: `Write a new version of a secret that exists. What uses it is told at once: synced Secrets
are written and the workloads that use them roll.

The value comes as with put, or is made with --generate. Needs the rotate capability.`,
		Example: `  coffer rotate production/payments/session-key --generate
  coffer rotate production/payments/database --file database.json`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "rotate"},
	}
	flags.bind(cmd)
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		return s.write(cmd, args[0], &flags, output.value, (*sdk.Client).Rotate)
	})
	return cmd
}

func (s *session) write(cmd *cobra.Command, path string, flags *writeFlags, output string, write writer) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	request, err := s.request(cmd, path, flags)
	if err != nil {
		return err
	}
	defer clear(request.Value)
	ctx, cancel := s.limit(cmd)
	defer cancel()
	written, err := write(client, ctx, path, request)
	if err != nil {
		return err
	}
	switch output {
	case formatName:
		return lines(s.out, []string{written.Path})
	case formatTable:
		_, err := fmt.Fprintf(s.out, "%s version %d written\n", written.Path, written.Version)
		return err
	default:
		return marshal(s.out, output, written)
	}
}
