package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/internal/cli/access"
	"github.com/coffer-vault/coffer/sdk"
)

// The exit codes, for scripts.
const (
	exitOK              = 0
	exitFailed          = 1
	exitUsage           = 2
	exitNotFound        = 3
	exitUnauthenticated = 4
	exitConflict        = 5
	exitUnavailable     = 6
	exitFindings        = 7
	exitCredentials     = 8
	exitInterrupted     = 130 // as shells have it for SIGINT
)

// ExitCodes explains the exit codes, for help and reference.
const ExitCodes = `Exit codes:
  0  done
  1  failed in another way
  2  wrong usage
  3  not found, or denied
  4  not authenticated
  5  conflict: the version is not the expected one, an import found other values, or the keyring does not
     allow it now, or somebody is not on the new value after a leak
  6  the vault is not available
  7  the audit log is not as it was written
  8  scan found likely credentials
  130  interrupted: by Ctrl-C, or told to end by SIGTERM`

// findingsError says what a verification of the audit log found.
type findingsError struct{ message string }

func (e *findingsError) Error() string { return e.message }

// wasInterrupted reports whether err came of it that the program, whose context is ctx, was told to end. Of a call that was to be sent again
// it is the last failure.
func wasInterrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled) || sdk.CodeOf(err) == sdk.CodeUnavailable)
}

// report prints err, and what to do about it, and returns the exit code.
func (s *session) report(ctx context.Context, cmd *cobra.Command, err error) int {
	if code, ok := processExitCode(err); ok {
		return code
	}
	if errors.Is(err, errInterrupted) {
		_, _ = fmt.Fprintln(s.err, "Interrupted; nothing was changed.")
		return exitInterrupted
	}
	if wasInterrupted(ctx, err) {
		_, _ = fmt.Fprintf(s.err, "Interrupted: %v\n", err)
		return exitInterrupted
	}
	_, usage := errors.AsType[*usageError](err)
	if usage || !s.started {
		_, _ = fmt.Fprintf(s.err, "Error: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	}
	_, _ = fmt.Fprintf(s.err, "Error: %v\n", err)
	if next := nextStep(cmd, err); next != "" {
		_, _ = fmt.Fprintln(s.err, next)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	if _, found := errors.AsType[*findingsError](err); found {
		return exitFindings
	}
	if _, found := errors.AsType[*credentialsError](err); found {
		return exitCredentials
	}
	if _, left := errors.AsType[*leftError](err); left {
		return exitConflict
	}
	if _, behind := errors.AsType[*behindError](err); behind {
		return exitConflict
	}
	if _, missing := errors.AsType[*missingError](err); missing {
		return exitNotFound
	}
	if failed, ok := errors.AsType[*startError](err); ok {
		return failed.code
	}
	if failed, ok := accessError(err); ok {
		if failed.Kind == access.Unreachable {
			return exitUnavailable
		}
		return exitUnauthenticated
	}
	switch sdk.CodeOf(err) {
	case sdk.CodeNotFoundOrDenied, sdk.CodeVersionNotFound:
		return exitNotFound
	case sdk.CodeUnauthenticated:
		return exitUnauthenticated
	case sdk.CodeConflict, sdk.CodeKeyState:
		return exitConflict
	case sdk.CodeUnavailable, sdk.CodeRateLimited:
		return exitUnavailable
	default:
		return exitFailed
	}
}

// explainedBy is the capability that a command needs, to ask about a refusal.
const explainedBy = "coffer/capability"

// explainedPath is the path to ask about, where it is no argument.
const explainedPath = "coffer/path"

// nextStep is what a person does about err, where the error does not say so itself.
func nextStep(cmd *cobra.Command, err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return `The server's certificate is not trusted. Fetch Coffer's authority and name it:
  kubectl -n coffer-system get configmap coffer-ca -o jsonpath='{.data.ca\.crt}' > ca.crt
  export COFFER_CACERT=$PWD/ca.crt`
	}
	if _, ok := errors.AsType[*findingsError](err); ok {
		return `What each finding means and what to do: "When the audit log is not as it was written" in docs/operations.md.`
	}
	if failed, ok := accessError(err); ok {
		return failed.Next
	}
	answer, ok := errors.AsType[*sdk.Error](err)
	if !ok {
		return ""
	}
	path := "PATH"
	if named := cmd.Annotations[explainedPath]; named != "" {
		path = named
	} else if args := cmd.Flags().Args(); len(args) == 1 {
		path = args[0]
	}
	switch answer.Code {
	case sdk.CodeNotFoundOrDenied:
		if capability := cmd.Annotations[explainedBy]; capability != "" {
			return fmt.Sprintf("See what your rights are: coffer explain %s --capability %s", path, capability)
		}
	case sdk.CodeVersionNotFound:
		return "See what versions there are: coffer versions " + path
	case sdk.CodeConflict:
		return "See what is current: coffer describe " + path
	case sdk.CodeUnavailable:
		if answer.Status == 0 {
			return "Is the address right ($COFFER_ADDR), and does Coffer run? kubectl -n coffer-system get pods"
		}
	case sdk.CodeIntegrityFailed:
		return "See what was found: coffer audit --decision failed"
	case sdk.CodeInternal:
		if answer.RequestID != "" {
			return "The server's log says more about request " + answer.RequestID + "."
		}
	default: // the error itself says what to do
	}
	return ""
}
