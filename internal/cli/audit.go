package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// maxPage is the most entries that the server gives at a time.
const maxPage = 1000

// auditFlags are the flags of audit.
type auditFlags struct {
	path, caller, action, decision string
	since, until                   string
	limit                          int
}

func (s *session) audit() *cobra.Command {
	var flags auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Search the audit log",
		Long: `Search the audit log, newest entries first: who asked for what, when, from where, whether
it was allowed, and what decided. Needs the audit capability on the paths.`,
		Example: `  coffer audit --path production/payments/database
  coffer audit --path production/payments/ --decision denied --since 24h
  coffer audit --caller payments/api --action read`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&flags.path, "path", "", "one path, or a prefix that ends in a slash")
	f.StringVar(&flags.caller, "caller", "", "caller, such as payments/api or user:alice")
	f.StringVar(&flags.action, "action", "", "action, such as read, put, rotate, delete")
	f.StringVar(&flags.decision, "decision", "", "allowed, denied or failed")
	f.StringVar(&flags.since, "since", "", "from this time on: a duration such as 24h, or a time such as 2026-01-31T08:00:00Z")
	f.StringVar(&flags.until, "until", "", "before this time, given like --since")
	f.IntVar(&flags.limit, "limit", 100, "most entries to print")
	_ = cmd.RegisterFlagCompletionFunc("decision", cobra.FixedCompletions([]string{"allowed", "denied", "failed"}, cobra.ShellCompDirectiveNoFileComp))
	output := addFormat(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = s.do(func(cmd *cobra.Command, _ []string) error {
		query, err := flags.query(s.now())
		if err != nil {
			return err
		}
		client, err := s.client()
		if err != nil {
			return err
		}
		found, err := searchAudit(cmd.Context(), client, query)
		if err != nil {
			return err
		}
		if output.value != formatTable {
			return marshal(s.out, output.value, orEmpty(found))
		}
		return s.printAudit(found)
	})
	cmd.AddCommand(s.auditVerify())
	return cmd
}

func (f auditFlags) query(now time.Time) (sdk.AuditQuery, error) {
	if f.limit < 1 {
		return sdk.AuditQuery{}, usagef("--limit %d: give at least 1", f.limit)
	}
	since, err := moment("since", f.since, now)
	if err != nil {
		return sdk.AuditQuery{}, err
	}
	until, err := moment("until", f.until, now)
	if err != nil {
		return sdk.AuditQuery{}, err
	}
	return sdk.AuditQuery{
		Prefix: f.path, Caller: f.caller, Action: f.action, Decision: f.decision, Since: since, Until: until, Limit: f.limit,
	}, nil
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
		version := ""
		if e.Version != 0 {
			version = strconv.FormatInt(e.Version, 10)
		}
		rows[i] = []string{stamp(e.At), e.Caller, orDash(e.Address), e.Action, orDash(e.Path), orDash(version), e.Decision, e.Rule}
	}
	return table(s.out, []string{"TIME", "CALLER", "ADDRESS", "ACTION", "PATH", "VERSION", "DECISION", "RULE"}, rows)
}

// orDash keeps columns that are read by number in their places.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (s *session) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: noArgs,
		RunE: s.do(func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.out, versionText())
			return err
		}),
	}
}
