package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Main runs the command line, with restore for the command of that name, and returns its exit code. args begins with the name of
// the program, as os.Args does.
func Main(args []string, restore Restorer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // who asks twice waits for nothing: the second signal ends the program
	s := &session{in: os.Stdin, out: os.Stdout, err: os.Stderr, now: time.Now, restore: restore}
	return s.run(ctx, args)
}

// session is one run of the program.
type session struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	restore  Restorer

	connection connection
	// closers end what commands opened, at the end of the run.
	closers []func()
	// started is set when a command's own work begins: what fails before is usage.
	started bool
	// interrupted is closed when the program is to end, as by Ctrl-C; nil when it never is.
	interrupted <-chan struct{}
}

func (s *session) run(ctx context.Context, args []string) int {
	root := s.root(displayName(args[0]))
	root.SetArgs(arguments(args))
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	defer s.close()
	s.interrupted = ctx.Done()
	failed, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	return s.report(ctx, failed, err)
}

func (s *session) close() {
	for _, end := range s.closers {
		end()
	}
}

// arguments are those of the command line. kubectl asks the program kubectl_complete-coffer
// what may follow kubectl coffer.
func arguments(args []string) []string {
	if strings.HasPrefix(filepath.Base(args[0]), "kubectl_complete-") {
		return append([]string{cobra.ShellCompRequestCmd}, args[1:]...)
	}
	return args[1:]
}

// displayName is how help calls the program: installed as kubectl-coffer it is a
// plugin of kubectl.
func displayName(program string) string {
	if strings.HasPrefix(filepath.Base(program), "kubectl") {
		return "kubectl coffer"
	}
	return "coffer"
}

// do makes a cobra RunE of a command's work.
func (s *session) do(work func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return s.ask(func(cmd *cobra.Command, args []string) error {
		ctx, cancel := s.limit(cmd)
		defer cancel()
		cmd.SetContext(ctx)
		return work(cmd, args)
	})
}

// ask is do for a command that may wait for a person: it limits its time itself.
func (s *session) ask(work func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s.started = true
		return work(cmd, args)
	}
}

// limit is the time that the server has.
func (s *session) limit(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), s.connection.timeout)
}
