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
	source         valueSource
	properties     propertyFlags
	generate       int
	metadata       metadataFlags
	expectVersion  int64
	pending        bool
	idempotencyKey string
	dryRun         bool
}

func (w *writeFlags) bind(cmd *cobra.Command) {
	w.source.bind(cmd)
	flags := cmd.Flags()
	flags.IntVar(&w.generate, "generate", 0, "make a random value of this many characters, 32 when no number is given")
	flags.Lookup("generate").NoOptDefVal = fmt.Sprint(defaultGenerated)
	w.metadata.bind(cmd)
	flags.Int64Var(&w.expectVersion, "expect-version", 0, "write only when this is the current version; 0: only when the path does not exist")
	flags.BoolVar(&w.pending, "pending", false, "write a version that is not current until it is promoted")
	flags.StringVar(&w.idempotencyKey, "idempotency-key", "", "makes repeated commands one write: for a day, the same key writes no second version")
	w.properties.bind(cmd)
	addDryRun(cmd, &w.dryRun, "be destroyed, as --max-versions has it")
	cmd.MarkFlagsMutuallyExclusive("file", "generate")
	for _, flag := range []string{"property", "property-literal"} {
		cmd.MarkFlagsMutuallyExclusive(flag, "file")
		cmd.MarkFlagsMutuallyExclusive(flag, "generate")
	}
}

// check refuses what could make no value, before one is read.
func (w *writeFlags) check(cmd *cobra.Command, terminal bool) error {
	if cmd.Flags().Changed("generate") && (w.generate < minGenerated || w.generate > maxGenerated) {
		return usagef("--generate=%d: give a length from %d to %d", w.generate, minGenerated, maxGenerated)
	}
	_, err := w.properties.names(terminal)
	return err
}

// showRequest shows what the request would destroy.
func (s *session) showRequest(cmd *cobra.Command, path string, w *writeFlags, intended intendedWrite, output string) error {
	changes, err := w.metadata.read(cmd)
	if err == nil {
		err = w.check(cmd, s.onTerminal())
	}
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("expect-version") {
		changes.ExpectedVersion = &w.expectVersion
	}
	intended.changes, intended.pending = changes, w.pending
	return s.showWrite(cmd, path, intended, output)
}

// request makes the request; what no flag names stays as the path has it.
func (s *session) request(cmd *cobra.Command, path string, w *writeFlags) (sdk.PutRequest, error) {
	m, err := w.metadata.read(cmd)
	r := sdk.PutRequest{
		Description: m.Description, Tags: m.Tags, RotateAfterDays: m.RotateAfterDays, MaxVersions: m.MaxVersions, Access: m.Access,
		Pending: w.pending, IdempotencyKey: w.idempotencyKey,
	}
	if err == nil {
		err = w.check(cmd, s.onTerminal())
	}
	if err != nil {
		return r, err
	}
	given := cmd.Flags().Changed
	if given("expect-version") {
		r.ExpectedVersion = &w.expectVersion
	}
	switch {
	case w.properties.given():
		r.Value, err = s.readProperties(path, w.properties, w.source.trimNewline)
	case !given("generate"):
		r.Value, err = s.readValue(path, w.source)
	default:
		r.Value = generate(w.generate)
	}
	return r, err
}

// parseTags reads key=value; without any it returns nil, which leaves the tags.
func parseTags(given []string) (map[string]string, error) {
	var tags map[string]string
	for _, tag := range given {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" {
			return nil, usagef("--tag %q is not key=value", tag)
		}
		if tags == nil {
			tags = map[string]string{}
		}
		tags[key] = value
	}
	return tags, nil
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
--property makes such a value, of exactly the properties that are named.

Description, tags, reminder and access stay as they are unless a flag changes them.
With --max-versions, now or before, the oldest versions beyond it are destroyed, but none that
has a label; --dry-run reads no value and shows those versions, for which it needs the list or
the read capability besides. Needs the write capability, and share to change who may read.`,
		Example: `  printf %s "$PASSWORD" | coffer put production/payments/database \
    --allow-service payments/api --allow-environment production
  coffer put production/payments/database --file database.json --rotate-after-days 90
  coffer put production/payments/database --property-literal user=app --property password
  coffer put production/payments/session-key --generate=64 --max-versions 10`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "write"},
	}
	flags.bind(cmd)
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		if flags.dryRun {
			return s.showRequest(cmd, args[0], &flags, intendedWrite{capability: "write"}, output.value)
		}
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

The value comes as with put, or is made with --generate. With --pending, nothing is told
and get prints what it did, until coffer promote. --dry-run shows the versions that would be
destroyed because of --max-versions, as with put. Needs the rotate capability.

With --now, the value is made and set as the secret's rotation is defined, as by coffer rotation run: with --revoke-old
you are asked to confirm, unless --yes is given, and --dry-run shows who has the secret.`,
		Example: `  coffer rotate production/payments/session-key --generate
  coffer rotate production/payments/database --now --revoke-old
  coffer rotate production/payments/database --file database.json`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "rotate"},
	}
	flags.bind(cmd)
	now, asDefinedFlags := bindNow(cmd)
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	byHand := s.ask(func(cmd *cobra.Command, args []string) error {
		if flags.dryRun {
			return s.showRequest(cmd, args[0], &flags, intendedWrite{capability: "rotate", mustExist: true}, output.value)
		}
		return s.write(cmd, args[0], &flags, output.value, (*sdk.Client).Rotate)
	})
	asDefined := s.ask(func(cmd *cobra.Command, args []string) error {
		asDefinedFlags.dryRun = flags.dryRun
		return s.runRotation(cmd, args[0], output.value, *asDefinedFlags)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *now:
			return asDefined(cmd, args)
		case asDefinedFlags.revokeOld:
			return usagef("--revoke-old goes with --now; a value that you give revokes nothing")
		}
		return byHand(cmd, args)
	}
	return cmd
}

func (s *session) write(cmd *cobra.Command, path string, flags *writeFlags, output string, write writer) error {
	client, err := s.client(cmd.Context())
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
	text := fmt.Sprintf("%s version %d written", written.Path, written.Version)
	if request.Pending {
		text += "; it is pending until promoted"
	}
	return s.printChanged(written, output, text)
}
