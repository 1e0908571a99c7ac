package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"
)

// The output formats.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
	formatRaw   = "raw"
)

// format is the flag -o, one of the formats that a command has; the first is the
// default.
type format struct {
	value   string
	allowed []string
	// hint is about a value that is none, besides which there are.
	hint string
}

func addFormat(cmd *cobra.Command, allowed ...string) *format {
	f := &format{value: allowed[0], allowed: allowed}
	cmd.Flags().VarP(f, "output", "o", "output format: "+strings.Join(allowed, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// addFormatBesideFile is addFormat for a command that took a file by -o once.
func addFormatBesideFile(cmd *cobra.Command, allowed ...string) *format {
	f := addFormat(cmd, allowed...)
	f.hint = "; the file to write is named with --file"
	return f
}

// String implements pflag.Value.
func (f *format) String() string { return f.value }

// Type implements pflag.Value.
func (*format) Type() string { return "format" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	if !slices.Contains(f.allowed, s) {
		return fmt.Errorf("this command prints %s%s", strings.Join(f.allowed, ", "), f.hint)
	}
	f.value = s
	return nil
}

// result is what a command made, for each format that it can have.
type result struct {
	// data is for JSON and YAML.
	data any
	// names are for -o name, one a line.
	names []string
	// raw is for -o raw.
	raw string
	// text is for people.
	text func() error
}

// print writes a result in the format that was asked for.
func (s *session) print(format string, r result) error {
	switch format {
	case formatName:
		return lines(s.out, r.names)
	case formatRaw:
		return lines(s.out, []string{r.raw})
	case formatTable:
		return r.text()
	default:
		return marshal(s.out, format, r.data)
	}
}

// line is a text of one line.
func (s *session) line(format string, args ...any) func() error {
	return func() error {
		_, err := fmt.Fprintf(s.out, format+"\n", args...)
		return err
	}
}

// messages is where a command says what it is doing: for people the output, and beside it where programs
// read that.
func (s *session) messages(format string) io.Writer {
	if format == formatTable {
		return s.out
	}
	return s.err
}

// marshal writes v as JSON or YAML.
func marshal(w io.Writer, format string, v any) error {
	encoded, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the output: %w", err)
	}
	if format == formatYAML {
		if encoded, err = yaml.JSONToYAML(encoded); err != nil {
			return fmt.Errorf("encode the output: %w", err)
		}
		_, err = w.Write(encoded)
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", encoded)
	return err
}

// table writes rows under a head, aligned as kubectl does.
func table(w io.Writer, head []string, rows [][]string) error {
	var aligned strings.Builder
	tw := tabwriter.NewWriter(&aligned, 0, 8, 3, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		_, _ = fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(aligned.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// lines writes one name a line.
func lines(w io.Writer, names []string) error {
	for _, name := range names {
		if _, err := fmt.Fprintln(w, name); err != nil {
			return err
		}
	}
	return nil
}

// printable keeps what others wrote from moving the reader's cursor or its columns.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// age is how long ago t was, as kubectl says it.
func (s *session) age(t time.Time) string { return duration.HumanDuration(s.now().Sub(t)) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
