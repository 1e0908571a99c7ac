package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// exportPage is how many rows an export asks for at a time, some MiB.
const exportPage = 5000

// request is what the filters select, with what chains the rows.
func (f *auditFilters) request(since, until time.Time) sdk.AuditExportRequest {
	return sdk.AuditExportRequest{
		Prefix: f.path, Caller: f.caller, Action: f.action, Decision: f.decision, Since: since, Until: until, Limit: exportPage,
	}
}

func (s *session) auditExport() *cobra.Command {
	var (
		filters     auditFilters
		out, resume string
	)
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export the audit log as JSON lines",
		Long: `Export the audit log as JSON lines, oldest entries first, with what chains them: writer,
seq, previous, mac and, in anchors, heads. It has every entry that was committed when the
export began. With --resume it notes in a file how far it came, and the next export with
the same file and filters has exactly those that were committed since, whatever their
ids. Without a filter, and for who may audit all, the numbers of each writer have no gap.
--timeout is for each page, not for all.

Needs the audit capability on the paths; for a whole log on ** and sys/**.`,
		Example: `  coffer audit export --file audit.jsonl
  coffer audit export --resume audit.position --file audit-2026-11-26.jsonl
  coffer audit export --since 24h --decision denied | jq -r .caller`,
		Args: noArgs, Annotations: map[string]string{explainedBy: "audit", explainedPath: "sys/audit"},
	}
	filters.bind(cmd)
	cmd.Flags().StringVar(&out, "file", "", "file to write, made when it is whole; it must not exist. Standard output when not given")
	_ = cmd.MarkFlagFilename("file")
	output := addFormatBesideFile(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.Flags().StringVar(&resume, "resume", "", "file that keeps the position: go on from there, and note there where this export ends")
	cmd.RunE = s.ask(func(cmd *cobra.Command, _ []string) error {
		since, until, err := filters.check(s.now())
		switch {
		case err != nil:
			return err
		case out == "" && output.value != formatTable:
			return usagef("-o %s tells of the export, which goes to standard output itself: give --file with it", output.value)
		}
		request := filters.request(since, until)
		request.Anchors = true
		if resume != "" {
			if request.After, err = readPosition(resume); err != nil {
				return err
			}
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		e := &auditExporter{session: s, client: client, request: request}
		if out == "" {
			err = e.write(cmd.Context(), s.out)
		} else {
			err = writeNew(out, func(w io.Writer) error { return e.write(cmd.Context(), w) })
		}
		return e.finish(err, out, resume, output.value)
	})
	return cmd
}

// auditExporter is one export. request.After is where it has come to.
type auditExporter struct {
	*session
	client        *sdk.Client
	request       sdk.AuditExportRequest
	rows, missing int64
}

// exported is what an export to a file did.
type exported struct {
	File string `json:"file"`
	Rows int64  `json:"rows"`
	// Missing are rows that were written since the last export, and are not in the log any more.
	Missing int64 `json:"missing"`
}

// write writes all pages to w.
func (e *auditExporter) write(ctx context.Context, w io.Writer) error {
	show := quiet
	if _, terminal := terminalOf(w); !terminal { // lines and a bar would run into each other
		show = e.showProgress("exporting", "rows")
	}
	defer show.end()
	for {
		page, err := e.page(ctx)
		if err != nil {
			return err
		}
		if err := writeRows(w, page.Items); err != nil {
			return err
		}
		e.rows += int64(len(page.Items))
		e.missing += page.Missing
		e.request.After = page.Next
		show.at(e.rows, e.rows+page.Remaining)
		if !page.More {
			return nil
		}
	}
}

func (e *auditExporter) page(ctx context.Context) (sdk.AuditPage, error) {
	ctx, cancel := context.WithTimeout(ctx, e.connection.timeout)
	defer cancel()
	return e.client.ExportAuditPage(ctx, e.request)
}

func writeRows(w io.Writer, rows []sdk.AuditRow) error {
	buffered := bufio.NewWriter(w)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	for i := range rows {
		if err := lines.Encode(&rows[i]); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	return nil
}

// finish notes how far an export came that ended with err, and says what it did. What was
// to be a file and failed is not there; what went to standard output is.
func (e *auditExporter) finish(err error, out, resume, output string) error {
	if err != nil && out != "" {
		return err
	}
	if resume != "" && e.request.After != "" {
		err = errors.Join(err, replace(resume, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, e.request.After)
			return err
		}))
	}
	if err != nil {
		return err
	}
	if output != formatTable {
		return e.print(output, result{data: exported{out, e.rows, e.missing}, names: []string{out}})
	}
	_, _ = fmt.Fprintf(e.err, "%s exported to %s.\n", count(e.rows, "row"), cmp.Or(out, "standard output"))
	if e.missing > 0 {
		_, _ = fmt.Fprintf(e.err, "%s that were written since the last export are not in the log any more: either their time of retention ended,\n"+
			"or somebody removed them. See: coffer audit verify\n", count(e.missing, "row"))
	}
	return nil
}

// readPosition reads what finish wrote; nothing when there is no such file yet.
func readPosition(file string) (string, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the position: %w", err)
	}
	position := strings.TrimSpace(string(content))
	if position == "" {
		return "", usagef("--resume %s is empty: remove it to begin with the whole log", file)
	}
	return position, nil
}
