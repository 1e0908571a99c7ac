package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// maxPage is the most entries that the server gives at a time.
const maxPage = 1000

// auditFilters are the flags that select entries.
type auditFilters struct {
	path, caller, action, decision string
	since, until                   string
}

func (f *auditFilters) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.path, "path", "", "one path, or a prefix that ends in a slash")
	flags.StringVar(&f.caller, "caller", "", "caller, such as payments/api or user:alice")
	flags.StringVar(&f.action, "action", "", "action, such as read, put, rotate, delete")
	flags.StringVar(&f.decision, "decision", "", "allowed, denied or failed")
	flags.StringVar(&f.since, "since", "", "from this time on: a duration such as 24h, or a time such as 2026-01-31T08:00:00Z")
	flags.StringVar(&f.until, "until", "", "before this time, given like --since")
	_ = cmd.RegisterFlagCompletionFunc("action", cobra.FixedCompletions(sdk.AuditActions(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("decision", cobra.FixedCompletions([]string{"allowed", "denied", "failed"}, cobra.ShellCompDirectiveNoFileComp))
}

// check reads the times, and refuses an action that there is none of: it would find nothing, as if nobody had done it.
func (f *auditFilters) check(now time.Time) (since, until time.Time, err error) {
	if f.action != "" && !slices.Contains(sdk.AuditActions(), f.action) {
		return since, until, usagef("--action %q is none; the actions are %s", f.action, strings.Join(sdk.AuditActions(), ", "))
	}
	if since, err = moment("since", f.since, now); err != nil {
		return since, until, err
	}
	until, err = moment("until", f.until, now)
	return since, until, err
}

func (s *session) audit() *cobra.Command {
	var (
		filters auditFilters
		limit   int
		follow  bool
	)
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Search the audit log",
		Long: `Search the audit log, newest entries first: who asked for what, when, from where, whether
it was allowed, and what decided. Needs the audit capability on the paths.

With --follow, print entries as they are written until interrupted, oldest first; with --since, those
from then on before. None is left out. -o json then prints one entry a line.`,
		Example: `  coffer audit --path production/payments/database
  coffer audit --path production/payments/ --decision denied --since 24h
  coffer audit --caller payments/api --action read
  coffer audit --follow --decision denied`,
		Args: noArgs,
	}
	filters.bind(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "most entries to print")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print entries as they are written")
	cmd.MarkFlagsMutuallyExclusive("follow", "limit")
	cmd.MarkFlagsMutuallyExclusive("follow", "until")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = s.ask(func(cmd *cobra.Command, _ []string) error {
		since, until, err := filters.check(s.now())
		switch {
		case err != nil:
			return err
		case limit < 1:
			return usagef("--limit %d: give at least 1", limit)
		case follow && output.value == formatYAML:
			return usagef("--follow prints a table or -o json")
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		if follow {
			return s.followAudit(cmd.Context(), client, filters.request(since, until), output.value)
		}
		ctx, cancel := s.limit(cmd)
		defer cancel()
		found, err := searchAudit(ctx, client, sdk.AuditQuery{
			Prefix: filters.path, Caller: filters.caller, Action: filters.action, Decision: filters.decision,
			Since: since, Until: until, Limit: limit,
		})
		if err != nil {
			return err
		}
		return s.print(output.value, result{data: orEmpty(found), text: func() error { return s.printAudit(found) }})
	})
	cmd.AddCommand(s.auditVerify(), s.auditExport())
	return cmd
}

// moment reads a time, or a duration before now.
func moment(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, usagef("--%s %q is neither a duration such as 24h nor a time such as 2026-01-31T08:00:00Z", flag, s)
	}
	return t, nil
}

// searchAudit collects pages until there are q.Limit entries.
func searchAudit(ctx context.Context, client *sdk.Client, q sdk.AuditQuery) ([]sdk.AuditEntry, error) {
	var found []sdk.AuditEntry
	for left := q.Limit; left > 0; left = q.Limit - len(found) {
		page := q
		page.Limit = min(left, maxPage)
		list, err := client.Audit(ctx, page)
		if err != nil {
			return nil, err
		}
		found = append(found, list.Items...)
		if list.Next == 0 {
			break
		}
		q.Before = list.Next
	}
	return found, nil
}

func (s *session) printAudit(found []sdk.AuditEntry) error {
	if len(found) == 0 {
		return s.nothing("No entries", "")
	}
	rows := make([][]string, len(found))
	for i, e := range found {
		rows[i] = auditCells(e)
	}
	return table(s.out, auditHead, rows)
}

var auditHead = []string{"TIME", "CALLER", "ADDRESS", "ACTION", "PATH", "VERSION", "DECISION", "RULE"}

func auditCells(e sdk.AuditEntry) []string {
	version := ""
	if e.Version != 0 {
		version = strconv.FormatInt(e.Version, 10)
	}
	return []string{stamp(e.At), e.Caller, orDash(e.Address), e.Action, orDash(e.Path), orDash(version), e.Decision, e.Rule}
}

// orDash keeps columns that are read by number in their places.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
