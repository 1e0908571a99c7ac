package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// auditPath is what policies name the audit log as a whole.
const auditPath = "sys/audit"

func (s *session) auditVerify() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify that no row of the audit log was changed or removed",
		Long: `Verify the whole audit log. Each row is chained to the one before it of its writer by a keyed
checksum that only the vault can compute. A row that was changed, removed, cut off the end
or added in the database is named by its writer and number. Exits 7 when there is one, and 0
when the log is whole. It takes some seconds for each million rows; --timeout does not count.

Needs the audit capability on sys/audit.

With --file, verify exports instead, without a server: that no number of a writer is missing between
two others, that each row names the one before it, and that there is what anchors know. That no field was
edited cannot be told so: the checksums need the vault's keys. Exports with a filter have gaps.`,
		Example: `  coffer audit verify
  coffer audit verify --file audit-01.jsonl --file audit-02.jsonl
  coffer audit verify -o json`,
		Args: noArgs, Annotations: map[string]string{explainedBy: "audit", explainedPath: auditPath},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML)
	cmd.Flags().StringArrayVar(&files, "file", nil, "export to verify, in place of the vault's log; may be repeated for exports that go on from each other")
	cmd.RunE = s.ask(func(cmd *cobra.Command, _ []string) error {
		if len(files) > 0 {
			verified, err := verifyFiles(files)
			if err != nil {
				return err
			}
			return s.reportVerification(verified.report, output.value, func() error { return s.printFileVerification(verified) })
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		show := s.showProgress("verifying", "rows")
		report, err := client.VerifyAudit(cmd.Context(), func(rows, remaining int64) { show.at(rows, rows+remaining) })
		show.end()
		if err != nil {
			return err
		}
		return s.reportVerification(report, output.value, func() error { return s.printVerification(report) })
	})
	return cmd
}

// reportVerification writes a report, as a table by asTable, and fails when it has findings.
func (s *session) reportVerification(report sdk.AuditReport, format string, asTable func() error) error {
	err := s.print(format, result{data: report, text: asTable})
	if err != nil {
		return err
	}
	return findingsOf(report)
}

// findingsOf is a findingsError; nil for a log that is whole.
func findingsOf(report sdk.AuditReport) error {
	if len(report.Findings) == 0 {
		return nil
	}
	return &findingsError{"the audit log is not as it was written: " + count(int64(len(report.Findings))+report.More, "finding")}
}

func (s *session) printVerification(r sdk.AuditReport) error {
	verified := fmt.Sprintf("%s of %s verified", count(r.Rows-r.Unchained, "row"), count(int64(r.Writers), "writer"))
	if r.From != nil && r.To != nil {
		verified += fmt.Sprintf(", %s to %s", stamp(*r.From), stamp(*r.To))
	}
	if _, err := fmt.Fprintln(s.out, verified); err != nil {
		return err
	}
	for _, note := range verificationNotes(r) {
		if _, err := fmt.Fprintln(s.out, note); err != nil {
			return err
		}
	}
	if len(r.Findings) == 0 {
		_, err := fmt.Fprintln(s.out, "The log is whole.")
		return err
	}
	if _, err := fmt.Fprintln(s.out); err != nil {
		return err
	}
	rows := make([][]string, len(r.Findings))
	for i, f := range r.Findings {
		rows[i] = []string{f.Kind, f.Writer, rowNumbers(f), orDash(between(f)), orDash(f.Action), orDash(f.Path), f.Detail}
	}
	if err := table(s.out, []string{"FINDING", "WRITER", "ROWS", "WRITTEN", "ACTION", "PATH", "NOTICED BY"}, rows); err != nil {
		return err
	}
	if r.More > 0 {
		_, err := fmt.Fprintf(s.out, "and %d more\n", r.More)
		return err
	}
	return nil
}

func verificationNotes(r sdk.AuditReport) (notes []string) {
	if r.Unchained > 0 {
		notes = append(notes, count(r.Unchained, "row")+" from before the log was chained: nothing is known of them")
	}
	if r.Dropped > 0 {
		notes = append(notes, count(r.Dropped, "older row")+" dropped by the retention, as checkpoints say")
	}
	if r.Erasable {
		notes = append(notes, "The server's database role may change and remove rows: that would be noticed, and is not prevented.")
	}
	return notes
}

// count is "1 row" or "2 rows".
func count(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(n, 10) + " " + noun
}

func rowNumbers(f sdk.AuditFinding) string {
	if f.First == f.Last {
		return strconv.FormatInt(f.First, 10)
	}
	return fmt.Sprintf("%d-%d", f.First, f.Last)
}

// between says when the rows of a finding were written, as far as it is known.
func between(f sdk.AuditFinding) string {
	switch {
	case f.ID != 0 && f.After != nil:
		return stamp(*f.After)
	case f.After != nil && f.Before != nil:
		return f.After.UTC().Format(time.RFC3339) + " to " + stamp(*f.Before)
	case f.After != nil:
		return "after " + stamp(*f.After)
	case f.Before != nil:
		return "before " + stamp(*f.Before)
	}
	return ""
}
