package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coffer-vault/coffer/sdk"
)

// scheduleOf is how people wrote it.
func scheduleOf(r sdk.RotationStatus) string {
	text := r.Cron
	if r.Every != "" {
		text = "every " + r.Every
	}
	switch {
	case r.Undefined:
		return "defined no more"
	case r.Suspended:
		return "suspended"
	case text == "":
		return "by hand"
	case r.TimeZone != "":
		return text + " " + r.TimeZone
	}
	return text
}

func dueOf(next time.Time) string {
	if next.IsZero() {
		return ""
	}
	return next.UTC().Format("2006-01-02 15:04")
}

// movedOf is such as 2/3; empty where nobody was counted.
func movedOf(r sdk.RotationRun) string {
	if r.Consumers == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", r.Moved, r.Consumers)
}

func (s *session) rotationShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show PATH",
		Short: "Describe the rotation of a secret and its last runs",
		Long: `Describe the rotation of a secret, and the last ten runs there with what each went through; also when the rotation is
defined no more. Needs the list or the read capability.`,
		Example: "  coffer rotation show production/payments/database",
		Args:    onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "list"},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		shown, err := client.ShowRotation(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return s.print(output.value, result{
			data: shown, names: []string{shown.Path}, text: func() error { return s.printRotation(shown) },
		})
	})
	return cmd
}

func (s *session) printRotation(r sdk.RotationStatus) error {
	if err := table(s.out, []string{"PATH", "NAME", "METHOD", "SCHEDULE", "DUE"}, [][]string{{r.Path, r.Name, r.Method, scheduleOf(r), dueOf(r.Next)}}); err != nil {
		return err
	}
	for _, run := range r.Runs {
		title := "\nRun " + run.ID
		if run.Cluster != r.Cluster || run.Name != r.Name {
			title += " of the rotation " + run.Name + " in " + run.Cluster
		}
		title += ", by " + run.Cause
		if run.By != "" {
			title += " of " + run.By
		}
		if _, err := fmt.Fprintln(s.out, title); err != nil {
			return err
		}
		rows := make([][]string, len(run.Steps))
		for i, step := range run.Steps {
			rows[i] = []string{step.At.UTC().Format(time.DateTime), step.State, step.Detail}
		}
		if err := table(s.out, []string{"AT", "STATE", "WHAT"}, rows); err != nil {
			return err
		}
		if err := s.printTrouble(run); err != nil {
			return err
		}
	}
	return nil
}

// printTrouble says what a run waits for.
func (s *session) printTrouble(run sdk.RotationRun) error {
	var said []string
	if run.WaitsFor != "" {
		said = append(said, "Waits: "+run.WaitsFor)
	}
	if run.Problem != "" {
		said = append(said, "Problem: "+run.Problem)
	}
	return lines(s.out, said)
}

// runRotationFlags are those of rotation run, and of rotate --now.
type runRotationFlags struct{ revokeOld, yes, dryRun bool }

func (s *session) rotationRun() *cobra.Command {
	var flags runRotationFlags
	cmd := &cobra.Command{
		Use:   "run PATH",
		Short: "Rotate a secret now, as its rotation is defined",
		Long: `Rotate a secret now, as its rotation is defined, whatever its schedule says. It goes on by itself; coffer rotation
show says how far it is. With --revoke-old, for a credential that is leaked, the former one is retired as soon as
the new one is current, and consumers that have not moved break, also of a run that is under way already: you are asked
to confirm that by typing the path, unless --yes is given. --dry-run shows who has the secret, for which it needs the
list or the read capability besides. Needs the rotate capability.`,
		Example: `  coffer rotation run production/payments/database
  coffer rotation run production/payments/database --revoke-old`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "rotate"},
	}
	cmd.Flags().BoolVar(&flags.revokeOld, "revoke-old", false, "retire the former credential without waiting for consumers")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	addDryRun(cmd, &flags.dryRun, "be done")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		return s.runRotation(cmd, args[0], output.value, flags)
	})
	return cmd
}

// saidOfRun is what a run that was asked for is: another than a planned one was under way.
func saidOfRun(run sdk.RotationRun) string {
	if run.State == "planned" { // in every other state both versions are known
		return "is planned"
	}
	return fmt.Sprintf("was under way, and waits for no consumer any more: version %d is revoked as soon as version %d is current", run.From, run.To)
}

func (s *session) runRotation(cmd *cobra.Command, path, output string, flags runRotationFlags) error {
	if flags.dryRun {
		return s.showRotationRun(cmd, path, flags.revokeOld, output)
	}
	if flags.revokeOld && !flags.yes {
		if err := s.confirmChange("rotates "+path+", and revokes its former credential without waiting for consumers", path); err != nil {
			return err
		}
	}
	return s.changeRotation(cmd, path, output, saidOfRun, func(ctx context.Context, client *sdk.Client) (sdk.RotationRun, error) {
		return client.RunRotation(ctx, path, sdk.RunRotationRequest{RevokeOld: flags.revokeOld})
	})
}

// bindNow adds the flags by which rotate does what rotation run does. They leave nothing to say about a value: the flags that cmd has so
// far, which are about one, do not go with --now, but for --dry-run.
func bindNow(cmd *cobra.Command) (now *bool, flags *runRotationFlags) {
	var ofValue []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "dry-run" {
			ofValue = append(ofValue, f.Name)
		}
	})
	now, flags = new(bool), &runRotationFlags{}
	cmd.Flags().BoolVar(now, "now", false, "rotate as the secret's rotation is defined, whatever its schedule says")
	cmd.Flags().BoolVar(&flags.revokeOld, "revoke-old", false, "with --now: retire the former credential without waiting for consumers")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "with --revoke-old: do not ask")
	for _, flag := range ofValue {
		cmd.MarkFlagsMutuallyExclusive("now", flag)
	}
	return now, flags
}

func (s *session) rotationApprove() *cobra.Command {
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   "approve PATH",
		Short: "Let a rotation that waits for somebody go on",
		Long: `Let a rotation that waits for somebody go on: without the consumers that have not moved, which break, or, when it
failed and is held, with what failed.

You are asked to confirm by typing the path, unless --yes is given. --dry-run shows who has the secret, for which it needs
the list or the read capability besides. Needs the rotate capability.`,
		Example: "  coffer rotation approve production/payments/database",
		Args:    onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "rotate"},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	addDryRun(cmd, &dryRun, "be done")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		if dryRun {
			return s.showApproval(cmd, args[0], output.value)
		}
		if !yes {
			if err := s.confirmChange("lets the rotation of "+args[0]+" go on without those that have not moved, which break", args[0]); err != nil {
				return err
			}
		}
		return s.changeRotation(cmd, args[0], output.value, always("goes on"), func(ctx context.Context, client *sdk.Client) (sdk.RotationRun, error) {
			return client.ApproveRotation(ctx, args[0])
		})
	})
	return cmd
}

func (s *session) rotationCancel() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel PATH",
		Short: "Roll a rotation back that is under way",
		Long: `Roll a rotation back that is under way: the former version becomes current again, and the new credential is revoked
when nobody has it any more. One that cannot go on, neither forth nor back, is given up; then both credentials
may be accepted still. Needs the rotate capability.`,
		Example: "  coffer rotation cancel production/payments/database",
		Args:    onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "rotate"},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		return s.changeRotation(cmd, args[0], output.value, always("is cancelled"), func(ctx context.Context, client *sdk.Client) (sdk.RotationRun, error) {
			return client.CancelRotation(ctx, args[0])
		})
	})
	return cmd
}

func always(said string) func(sdk.RotationRun) string {
	return func(sdk.RotationRun) string { return said }
}

// changeRotation runs a call about the run of a path, and prints that.
func (s *session) changeRotation(
	cmd *cobra.Command, path, output string, done func(sdk.RotationRun) string, call func(context.Context, *sdk.Client) (sdk.RotationRun, error),
) error {
	client, err := s.client(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := s.limit(cmd)
	defer cancel()
	run, err := call(ctx, client)
	if err != nil {
		return err
	}
	switch output {
	case formatName:
		return lines(s.out, []string{path})
	case formatTable:
		return lines(s.out, []string{strings.Join([]string{"The rotation of", path, done(run)}, " ")})
	default:
		return marshal(s.out, output, run)
	}
}
