package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// stopTimeout is how long a process that is to be restarted has to end, unless it is said
// otherwise: what containers get by many a supervisor.
const stopTimeout = 10 * time.Second

type runFlags struct {
	env, files  []string
	prefix      string
	onChange    string
	stopTimeout time.Duration
}

func (s *session) runProcess() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARGS...]",
		Short: "Run a process with secrets as environment or files",
		Long: `Run a process that has secrets in its environment, or in files. The files are in
a folder of their own, mode 0700, which goes when the process ends: in memory, or in the folder for
temporary files where the machine has no such place. Its name is in $COFFER_FILES of the process.

--env PATH sets a variable for each property of the value, named like the property in capitals,
with --prefix before it; --env NAME=PATH sets one to the whole value, and NAME=PATH#PROPERTY to a
property. --file PATH=FILE writes the value, and PATH#PROPERTY=FILE a property, to FILE in the
folder.

--on-change says what happens when a value changes: restart ends the process with SIGTERM, and
starts it again with the new values; signal=SIGHUP writes the files anew and sends that signal;
ignore, the default, does nothing. Values that cannot be read any more leave the process as it is.

Signals go on to the process, and coffer exits with its code, 128 and the signal's number when a
signal ended it, 126 when it cannot be run and 127 when there is none. Each reading is audited.
Needs the read capability.`,
		Example: `  coffer run --env production/payments/database --prefix DB_ -- ./payments
  coffer run --env PGPASSWORD=production/payments/database#password -- psql -h db
  coffer run --file production/payments/tls#key=tls.key --on-change signal=SIGHUP -- sh -c 'exec server --key "$COFFER_FILES/tls.key"'`,
		Annotations: map[string]string{explainedBy: "read", explainedPath: "PATH"},
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 0 || len(args) == 0 {
				return usagef("the command is missing; write it after --, such as: coffer run --env PATH -- COMMAND")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&flags.env, "env", nil, "PATH, NAME=PATH or NAME=PATH#PROPERTY to put into the environment; may be repeated")
	f.StringArrayVar(&flags.files, "file", nil, "PATH=FILE or PATH#PROPERTY=FILE to put into a file; may be repeated")
	f.StringVar(&flags.prefix, "prefix", "", "beginning of the names that --env PATH makes")
	f.StringVar(&flags.onChange, "on-change", changeIgnore, "when a value changes: restart, signal=SIGNAL or ignore")
	f.DurationVar(&flags.stopTimeout, "stop-timeout", stopTimeout, "how long the process has to end before a restart kills it")
	_ = cmd.RegisterFlagCompletionFunc("on-change", cobra.FixedCompletions(
		[]string{changeRestart, changeSignal + "SIGHUP", changeIgnore}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error { return s.runWith(cmd, flags, args) })
	return cmd
}

func (s *session) runWith(cmd *cobra.Command, flags runFlags, args []string) error {
	sources, err := flags.sources()
	if err != nil {
		return err
	}
	change, err := flags.change()
	if err != nil {
		return err
	}
	client, err := s.client(cmd.Context())
	if err != nil {
		return err
	}
	read := func(ctx context.Context) (values, error) {
		ctx, cancel := context.WithTimeout(ctx, s.connection.timeout)
		defer cancel()
		return sources.read(ctx, client.Get)
	}
	first, err := read(cmd.Context())
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	defer keepFromPipes()()
	if err := cmd.Context().Err(); err != nil { // one that came before
		return err
	}
	folder, err := newFolder(len(sources.files()) > 0)
	if err != nil {
		return err
	}
	defer folder.remove()
	if err := folder.write(first.files); err != nil {
		return err
	}
	// From here on the process decides when it is over: what ends this command by itself goes on
	// to it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(cmd.Context()))
	defer cancel()
	r := &supervisor{
		args: args, in: s.in, out: s.out, err: s.err, folder: folder, read: read, change: change,
		stopTimeout: flags.stopTimeout, signals: signals, digest: first.digest(),
	}
	if change.follows() {
		r.changes = watchPaths(ctx, client, sources.paths(), r.say)
	}
	return r.run(ctx, first)
}

// What to do on a change.
const (
	changeRestart = "restart"
	changeSignal  = "signal="
	changeIgnore  = "ignore"
)

// reaction is --on-change.
type reaction struct {
	restart bool
	// signal is sent when not nil.
	signal os.Signal
}

func (r reaction) follows() bool { return r.restart || r.signal != nil }

func (f runFlags) change() (reaction, error) {
	name, isSignal := strings.CutPrefix(f.onChange, changeSignal)
	switch {
	case f.onChange == changeIgnore:
		return reaction{}, nil
	case f.onChange == changeRestart:
		return reaction{restart: true}, nil
	case !isSignal:
		return reaction{}, usagef("--on-change %q is not restart, signal=SIGNAL or ignore", f.onChange)
	case len(f.files) == 0:
		return reaction{}, usagef("the environment of a process that runs cannot change: give values by --file, or say --on-change restart")
	}
	number, ok := signalNamed(name)
	if !ok {
		return reaction{}, usagef("--on-change signal=%s: there is no such signal; write it like SIGHUP", name)
	}
	return reaction{signal: number}, nil
}

// processExit is how the process of coffer run ended. It is not coffer's own failure.
type processExit struct{ code int }

func (e *processExit) Error() string { return fmt.Sprintf("the process exited with %d", e.code) }

func processExitCode(err error) (int, bool) {
	exit, ok := errors.AsType[*processExit](err)
	if !ok {
		return 0, false
	}
	return exit.code, true
}
