package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// usualLeakWait is how long leak waits for consumers: a rollout of many pods takes some minutes.
const usualLeakWait = 10 * time.Minute

// leakFlags are those of leak.
type leakFlags struct {
	version       int64
	since, reason string
	dryRun, yes   bool
	wait          time.Duration
	source        valueSource
	generate      int
}

// leakOutcome is what leak found and did.
type leakOutcome struct {
	Report sdk.LeakReport `json:"report"`
	// Leaked is the version that was acted on; 0 in a dry run.
	Leaked int64 `json:"leaked,omitempty"`
	// New is the version in its place; 0 when it is not known, or was there before.
	New int64 `json:"new,omitempty"`
	// Run is nil when the value was replaced by hand.
	Run       *sdk.RotationRun `json:"run,omitempty"`
	Destroyed bool             `json:"destroyed,omitempty"`
	// Consumers are who has the secret at the end.
	Consumers []leakConsumer `json:"consumers,omitempty"`
}

// leakConsumer is a consumer, and whether it has left the leaked version: one that is Cached has when it has read another since.
type leakConsumer struct {
	sdk.Consumer
	Moved bool `json:"moved"`
}

func (s *session) leak() *cobra.Command {
	var flags leakFlags
	cmd := &cobra.Command{
		Use:   "leak PATH",
		Short: "Say who had a leaked secret, and replace it",
		Long: `Say who had a version of a secret, from the audit log, and who has it still; then, once you confirm, replace it.

Where a rotation is defined, it runs now and the former credential is revoked as soon as the new one is current:
consumers that have not moved break. Where none is, you give a new value as with rotate, the leaked version is destroyed,
and you revoke the credential at its own system by hand. A version that is not current any more is destroyed.

Then each consumer is shown as it moves, and at the end all of them. Exits 5 when somebody does not have the new
value after --wait, and 7 when the audit log is not as it was written.

The report needs the audit capability, and replacing needs rotate and, by hand, delete. To follow a rotation takes list
or read: without them it is begun all the same, and what comes of it is not told.`,
		Example: `  coffer leak production/aws/key --dry-run
  coffer leak production/aws/key --reason 'in a public repository' --yes
  coffer leak production/aws/key --since 72h --file new.json`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "audit"},
	}
	bindLeak(cmd, &flags)
	output := addFormat(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		return s.runLeak(cmd, args[0], &flags, output.value)
	})
	return cmd
}

func bindLeak(cmd *cobra.Command, f *leakFlags) {
	flags := cmd.Flags()
	flags.Int64Var(&f.version, "version", 0, "version that is leaked; the current one when not given")
	flags.StringVar(&f.since, "since", "", "count reads from this time on, of all versions without --version: a duration such as 24h, or a time such as 2026-01-31T08:00:00Z")
	flags.StringVar(&f.reason, "reason", "", "why, for the audit log")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say who had it, and what would be done")
	flags.DurationVar(&f.wait, "wait", usualLeakWait, "how long to wait for the rotation and its consumers")
	f.source.bind(cmd)
	flags.IntVar(&f.generate, "generate", 0, "without a rotation: make a random value of this many characters, 32 when no number is given")
	flags.Lookup("generate").NoOptDefVal = fmt.Sprint(defaultGenerated)
	cmd.MarkFlagsMutuallyExclusive("file", "generate")
	for _, flag := range []string{"yes", "reason", "file", "generate"} {
		cmd.MarkFlagsMutuallyExclusive("dry-run", flag)
	}
}

func (f *leakFlags) check(s *session, cmd *cobra.Command) (sdk.LeakQuery, error) {
	q := sdk.LeakQuery{Version: f.version}
	if cmd.Flags().Changed("version") && f.version < 1 {
		return q, usagef("--version %d: versions count from 1", f.version)
	}
	if f.wait < 0 {
		return q, usagef("--wait %s: give 0s or more", f.wait)
	}
	if cmd.Flags().Changed("generate") && (f.generate < minGenerated || f.generate > maxGenerated) {
		return q, usagef("--generate=%d: give a length from %d to %d", f.generate, minGenerated, maxGenerated)
	}
	if _, ok := terminalOf(s.in); !ok && !f.yes && !f.dryRun {
		return q, usagef("this asks for confirmation, and standard input is not a terminal; give --yes, or --dry-run for the report alone")
	}
	var err error
	q.Since, err = moment("since", f.since, s.now())
	return q, err
}

func (s *session) runLeak(cmd *cobra.Command, path string, flags *leakFlags, output string) error {
	query, err := flags.check(s, cmd)
	if err != nil {
		return err
	}
	client, err := s.client(cmd.Context())
	if err != nil {
		return err
	}
	l := &leakRun{session: s, client: client, path: path, flags: flags, messages: s.messages(output)}
	l.Report, err = within(cmd.Context(), s, func(ctx context.Context) (sdk.LeakReport, error) { return client.LeakReport(ctx, path, query) })
	if err != nil {
		return err
	}
	if output == formatTable {
		if err := s.printLeakReport(&l.Report); err != nil {
			return err
		}
	}
	s.warnOfLeakReport(&l.Report)
	if flags.dryRun {
		err = s.wouldDo("%s", l.plan())
	} else {
		err = l.replace(cmd.Context())
	}
	if l.Leaked == 0 && err != nil {
		return err // nothing was begun
	}
	printed := s.print(output, result{data: l.leakOutcome, text: func() error { return s.printMoved(l.Consumers) }})
	return cmp.Or(err, printed, l.findings())
}

// within has a call of the server end in the time that one has.
func within[T any](ctx context.Context, s *session, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, s.connection.timeout)
	defer cancel()
	return call(ctx)
}

// findings is an error when the report could not be made from all that was written.
func (o *leakOutcome) findings() error {
	if o.Report.Changed > 0 {
		return &findingsError{fmt.Sprintf("%d rows of the audit log about %s are not as they were written, so who is named there is not known", o.Report.Changed, o.Report.Path)}
	}
	return nil
}

// leakRun is one leak that is dealt with.
type leakRun struct {
	leakOutcome
	session  *session
	client   *sdk.Client
	path     string
	flags    *leakFlags
	messages io.Writer
}

// leaked is the version to replace.
func (l *leakRun) leaked() int64 { return cmp.Or(l.Report.Version, l.Report.Current) }

// underWay reports whether the rotation of the path replaces the leaked version already.
func (l *leakRun) underWay() bool {
	r := l.Report.Rotation
	return r != nil && len(r.Runs) > 0 && !r.Runs[0].Ended && r.Runs[0].From == l.leaked()
}

func (l *leakRun) byHand() bool {
	return l.leaked() == l.Report.Current && l.Report.Rotation == nil && l.Report.RotationProblem == ""
}

// elsewhere reports whether the leaked version is for a rotation that is not to be asked for from here.
func (l *leakRun) elsewhere() bool {
	return l.leaked() == l.Report.Current && l.Report.RotationProblem != ""
}

// plan says what is to be done.
func (l *leakRun) plan() string {
	what := fmt.Sprintf("version %d of %s", l.leaked(), l.path)
	switch {
	case l.underWay():
		return "The rotation that replaces " + what + " would wait for no consumer any more"
	case l.leaked() != l.Report.Current:
		return "Since " + what + " is not current any more, it would be destroyed, and nothing rotated"
	case l.elsewhere():
		return "Nothing would be done about " + what + " from here: " + printable(l.Report.RotationProblem)
	case l.byHand():
		return "No rotation is defined: a new value would be written, and " + what + " destroyed"
	}
	return fmt.Sprintf("The rotation of the path (%s) would replace %s, and revoke the former credential at once", l.Report.Rotation.Method, what)
}

// asks is what is to be confirmed.
func (l *leakRun) asks() string {
	what := fmt.Sprintf("version %d of %s", l.leaked(), l.path)
	switch {
	case l.leaked() != l.Report.Current && !l.underWay():
		return "destroys, for good, " + what
	case l.byHand():
		return "writes a new value, and destroys, for good, " + what
	}
	return "rotates " + l.path + " and revokes the credential of version " + fmt.Sprint(l.leaked()) + " without waiting for consumers"
}

// replace asks, and puts another value in place of the leaked one.
func (l *leakRun) replace(ctx context.Context) error {
	if l.elsewhere() {
		return fmt.Errorf("nothing is done about version %d of %s: %s", l.leaked(), l.path, printable(l.Report.RotationProblem))
	}
	if !l.flags.yes {
		if err := l.session.confirmChange(l.asks(), l.path); err != nil {
			return err
		}
	}
	var value []byte
	if l.byHand() {
		l.say("No rotation is defined for it, so its new value is yours to give, and the credential yours to revoke at its own system.")
		var err error
		if value, err = l.value(); err != nil {
			return err
		}
		defer clear(value)
	}
	said, err := within(ctx, l.session, func(ctx context.Context) (sdk.LeakResponse, error) {
		return l.client.Leak(ctx, l.path, sdk.LeakRequest{Version: l.leaked(), Reason: l.flags.reason})
	})
	if err != nil {
		return err
	}
	l.Leaked = l.leaked()
	switch {
	case said.Run != nil:
		l.Run = said.Run
		return l.follow(ctx)
	case l.byHand():
		return l.replaceByHand(ctx, value)
	case l.Leaked != l.Report.Current:
		return l.destroyLeaked(ctx)
	}
	return fmt.Errorf("version %d of %s was replaced, or its rotation was taken away, while the answer was waited for; begin anew to see", l.Leaked, l.path)
}

func (l *leakRun) value() ([]byte, error) {
	if l.flags.generate > 0 {
		return generate(l.flags.generate), nil
	}
	return l.session.readValue(l.path, l.flags.source)
}

func (l *leakRun) replaceByHand(ctx context.Context, value []byte) error {
	written, err := within(ctx, l.session, func(ctx context.Context) (sdk.Metadata, error) {
		return l.client.Rotate(ctx, l.path, sdk.PutRequest{Value: value, ExpectedVersion: &l.Leaked})
	})
	if err != nil {
		return err
	}
	l.New = written.Version
	l.say("Version %d of %s is written and current.", l.New, l.path)
	return l.destroyLeaked(ctx)
}

// destroyLeaked destroys the leaked version, and waits for who has it. What cannot be destroyed keeps nobody from moving.
func (l *leakRun) destroyLeaked(ctx context.Context) error {
	_, failed := within(ctx, l.session, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, l.client.DestroyVersions(ctx, l.path, l.Leaked)
	})
	if failed == nil {
		l.Destroyed = true
		l.say("Version %d is destroyed: nobody reads it here or rolls back to it any more. Backups that were made before hold it still.", l.Leaked)
	} else {
		failed = fmt.Errorf("version %d could not be destroyed; when you may, coffer destroy %s --version %d: %w", l.Leaked, l.path, l.Leaked, failed)
	}
	l.say("The leaked credential is accepted by its own system until you revoke it there.")
	return cmp.Or(failed, l.follow(ctx))
}

func (l *leakRun) say(format string, args ...any) {
	_, _ = fmt.Fprintf(l.messages, format+"\n", args...)
}
