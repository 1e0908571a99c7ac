package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// The kinds of a rotationEntry.
const (
	// kindReminder is a path that somebody rotates by hand, and kindRotation one that Coffer rotates.
	kindReminder = "reminder"
	kindRotation = "rotation"
)

// beganLate is how long a rotation may take to begin when it is due: replicas look every half minute.
const beganLate = time.Minute

// rotationEntry is a path that is rotated, in one list of reminders and rotations that are defined.
type rotationEntry struct {
	Path string `json:"path"`
	Kind string `json:"kind"`
	// Version and RotateAfterDays are of a reminder; Cluster, Name, Method and the rest of a rotation.
	Version         int64  `json:"version,omitempty"`
	RotateAfterDays int    `json:"rotateAfterDays,omitempty"`
	Cluster         string `json:"cluster,omitempty"`
	Name            string `json:"name,omitempty"`
	Method          string `json:"method,omitempty"`
	// Schedule is as people read it.
	Schedule string           `json:"schedule"`
	Run      *sdk.RotationRun `json:"run,omitempty"`
	// Last is when it was rotated last, and Next when it is due; zero where that is not known, or not to be.
	Last    time.Time `json:"last,omitzero"`
	Next    time.Time `json:"next,omitzero"`
	Overdue bool      `json:"overdue"`
	// OverdueSince is when a rotation was due that failed, also where Next is later.
	OverdueSince time.Time `json:"overdueSince,omitzero"`
	DaysOverdue  int       `json:"daysOverdue,omitempty"`
}

func (s *session) rotationList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list [PREFIX]",
		Aliases: []string{"ls", "status"},
		Short:   "List what is rotated: by Coffer, or by hand with a reminder",
		Long: `List the secrets that you may list which Coffer rotates, each with its newest run, and those for which
--rotate-after-days was given, whose owner is reminded only.`,
		Example: "  coffer rotation list production",
		Args:    atMostOnePrefix,
	}
	listsBelow(s, cmd, func(client *sdk.Client, ctx context.Context, prefix string) ([]rotationEntry, error) {
		return rotationsBelow(ctx, client, prefix, s.now())
	}, func(found []rotationEntry, output, prefix string) error {
		return s.printRotations(found, output, "Nothing is rotated, and nothing has a reminder", prefix)
	})
	return cmd
}

func (s *session) rotationOverdue() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "overdue [PREFIX]",
		Short: "List what should have been rotated",
		Long: `List the secrets that you may list which should have been rotated: whose current version is older than
--rotate-after-days said, or whose rotation is due and has not begun, or failed. Exits 0 whether there are any or not.`,
		Example: "  coffer rotation overdue production",
		Args:    atMostOnePrefix,
	}
	listsBelow(s, cmd, func(client *sdk.Client, ctx context.Context, prefix string) ([]rotationEntry, error) {
		return overdueRotations(ctx, client, prefix, s.now())
	}, func(found []rotationEntry, output, prefix string) error {
		return s.printRotations(found, output, "Nothing is overdue", prefix)
	})
	return cmd
}

// rotationsBelow are the reminders and the rotations below prefix, by path.
func rotationsBelow(ctx context.Context, client *sdk.Client, prefix string, now time.Time) ([]rotationEntry, error) {
	reminders, err := client.Rotations(ctx, prefix)
	if err != nil {
		return nil, err
	}
	defined, err := client.DefinedRotations(ctx, prefix)
	if err != nil {
		return nil, err
	}
	entries := make([]rotationEntry, 0, len(reminders)+len(defined))
	for i := range reminders {
		entries = append(entries, reminderEntry(&reminders[i], now))
	}
	for i := range defined {
		entries = append(entries, definedEntry(&defined[i], now))
	}
	slices.SortFunc(entries, func(a, b rotationEntry) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Cluster, b.Cluster))
	})
	return entries, nil
}

func overdueRotations(ctx context.Context, client *sdk.Client, prefix string, now time.Time) ([]rotationEntry, error) {
	found, err := rotationsBelow(ctx, client, prefix, now)
	return slices.DeleteFunc(found, func(e rotationEntry) bool { return !e.Overdue }), err
}

func reminderEntry(r *sdk.Rotation, now time.Time) rotationEntry {
	e := rotationEntry{
		Path: r.Path, Kind: kindReminder, Version: r.Version, RotateAfterDays: r.RotateAfterDays, Last: r.RotatedAt, Next: r.DueAt, Overdue: r.Overdue,
		Schedule: fmt.Sprintf("every %dd", r.RotateAfterDays),
	}
	if r.Overdue {
		e.OverdueSince = r.DueAt
	}
	e.count(now)
	return e
}

func definedEntry(r *sdk.RotationStatus, now time.Time) rotationEntry {
	e := rotationEntry{
		Path: r.Path, Kind: kindRotation, Cluster: r.Cluster, Name: r.Name, Method: r.Method, Schedule: scheduleOf(*r), Next: r.Next,
	}
	if !r.OverdueSince.IsZero() && now.Sub(r.OverdueSince) > beganLate {
		e.Overdue, e.OverdueSince = true, r.OverdueSince
	}
	if len(r.Runs) > 0 {
		if e.Run = &r.Runs[0]; e.Run.State == "done" {
			e.Last = e.Run.EnteredAt
		}
	}
	e.count(now)
	return e
}

func (e *rotationEntry) count(now time.Time) {
	if e.Overdue {
		e.DaysOverdue = int(max(now.Sub(e.OverdueSince), 0) / (24 * time.Hour))
	}
}

func (s *session) printRotations(found []rotationEntry, output, nothing, prefix string) error {
	return printAll(s, output, found, func(e rotationEntry) string { return e.Path }, func() error {
		if len(found) == 0 {
			return s.nothing(nothing, prefix)
		}
		rows := make([][]string, len(found))
		for i := range found {
			e := &found[i]
			late := "-"
			if e.Overdue {
				late = s.age(e.OverdueSince)
			}
			rows[i] = []string{e.Path, cmp.Or(e.Method, e.Kind), e.Schedule, orDash(dueOf(e.Last)), orDash(dueOf(e.Next)), stateOfRun(e.Run), late}
		}
		return table(s.out, []string{"PATH", "BY", "SCHEDULE", "LAST", "NEXT", "STATE", "OVERDUE"}, rows)
	})
}

// stateOfRun is such as "propagating 2/3".
func stateOfRun(r *sdk.RotationRun) string {
	if r == nil {
		return "-"
	}
	text := r.State
	if moved := movedOf(*r); moved != "" {
		text += " " + moved
	}
	return text
}
