package cli

import (
	"fmt"
	"strings"

	"github.com/coffer-vault/coffer/sdk"
)

func (s *session) printLeakReport(r *sdk.LeakReport) error {
	about := fmt.Sprintf("All versions of %s, since %s", r.Path, stamp(r.Since))
	if r.Version != 0 {
		about = fmt.Sprintf("Version %d of %s, written %s by %s", r.Version, r.Path, stamp(r.WrittenAt), r.WrittenBy)
		if r.Version != r.Current {
			about += fmt.Sprintf("; current is version %d", r.Current)
		}
	}
	if err := lines(s.out, []string{printable(about), "", "Who read it, the last first:"}); err != nil {
		return err
	}
	if err := s.printLeakReaders(r.Readers, "VERSIONS", func(l *sdk.LeakReader) string { return joined(l.Versions) }); err != nil {
		return err
	}
	if len(r.Refused) > 0 {
		if err := lines(s.out, []string{"", "Who was refused in that time:"}); err != nil {
			return err
		}
		if err := s.printLeakReaders(r.Refused, "ACTION", func(l *sdk.LeakReader) string { return l.Action }); err != nil {
			return err
		}
	}
	if err := lines(s.out, []string{"", "Who has it now:"}); err != nil {
		return err
	}
	if len(r.Holders) == 0 {
		return lines(s.out, []string{"nobody that is known"})
	}
	return s.printConsumers(r.Holders, formatTable)
}

// printLeakReaders prints readers, or who was refused, with one column that differs.
func (s *session) printLeakReaders(readers []sdk.LeakReader, column string, cell func(*sdk.LeakReader) string) error {
	if len(readers) == 0 {
		return lines(s.out, []string{"nobody"})
	}
	rows := make([][]string, len(readers))
	for i := range readers {
		r := &readers[i]
		rows[i] = []string{
			r.Caller, orDash(r.Cluster), r.Via, cell(r), fmt.Sprint(r.Times), stamp(r.FirstAt), stamp(r.LastAt), orDash(strings.Join(r.Addresses, ",")),
		}
	}
	return table(s.out, []string{"WHO", "CLUSTER", "VIA", column, "TIMES", "FIRST", "LAST", "FROM"}, rows)
}

func joined(versions []int64) string {
	return strings.Join(namesOf(versions, func(v int64) string { return fmt.Sprint(v) }), ",")
}

// warnOfLeakReport says on standard error what the report may lack.
func (s *session) warnOfLeakReport(r *sdk.LeakReport) {
	warn := func(format string, args ...any) { _, _ = fmt.Fprintf(s.err, "Warning: "+format+"\n", args...) }
	if r.CompleteSince.After(r.Since) {
		warn("readers are told from %s on: the audit log does not go back to %s, or is too long to be read as far", stamp(r.CompleteSince), stamp(r.Since))
	}
	if r.Changed > 0 {
		warn("%d rows of the audit log are not as they were written, and not told of here; run coffer audit verify", r.Changed)
	}
	if r.Unchained > 0 {
		warn("%d rows are from before the audit log had an integrity check", r.Unchained)
	}
	if r.HoldersProblem != "" {
		warn("who has it now is not known: %s", printable(r.HoldersProblem))
	}
	if r.RotationProblem != "" {
		warn("%s", printable(r.RotationProblem))
	}
}

// printMoved prints every consumer, and whether it is on the new value.
func (s *session) printMoved(consumers []leakConsumer) error {
	if len(consumers) == 0 {
		return nil
	}
	cached := false
	rows := make([][]string, len(consumers))
	for i, c := range consumers {
		moved := "no"
		switch {
		case c.Moved && c.State == sdk.ConsumerCached:
			moved, cached = "cached", true
		case c.Moved:
			moved = "yes"
		}
		rows[i] = []string{c.Kind, c.Cluster, orDash(c.Namespace), c.Name, fmt.Sprint(c.Version), rolledOf(c.Consumer), moved}
	}
	if err := table(s.out, []string{"KIND", "CLUSTER", "NAMESPACE", "NAME", "VERSION", "WORKLOADS", "MOVED"}, rows); err != nil || !cached {
		return err
	}
	return lines(s.out, []string{"cached: it has read another value since, and a program of it may keep this one in memory for an hour at most"})
}
