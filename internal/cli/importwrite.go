package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/internal/cli/source"
	"github.com/coffer-vault/coffer/sdk"
)

// importedTag is the tag of a path that says where its value came from.
const importedTag = "imported-from"

// leftError says that values of the vault differ, or are deleted, and were left.
type leftError struct{ differ, deleted []string }

func (e *leftError) Error() string {
	var said []string
	if len(e.differ) > 0 {
		said = append(said, fmt.Sprintf("left as it is, since the vault has another value: %s; see the plan, and give --overwrite to replace it", strings.Join(e.differ, ", ")))
	}
	if len(e.deleted) > 0 {
		said = append(said, fmt.Sprintf("left deleted, since a new value would take away what was there: %s; undelete it (coffer undelete %s) and import again, or give --replace-deleted",
			strings.Join(e.deleted, ", "), e.deleted[0]))
	}
	return strings.Join(said, "\n")
}

func (e *leftError) orNil() error {
	if len(e.differ)+len(e.deleted) == 0 {
		return nil
	}
	return e
}

// carryOut asks, and writes path after path. After a failure it says what is written and what
// is not.
func (s *session) carryOut(cmd *cobra.Command, client *sdk.Client, p *plan, f *importFlags, messages io.Writer) error {
	chosen, left, err := s.choose(p, f)
	if err != nil {
		return err
	}
	show := quiet
	if _, terminal := terminalOf(messages); !terminal { // where a line for each path is how far it is
		show = s.showProgress("importing", "paths")
	}
	defer show.end()
	for n, t := range chosen {
		show.at(int64(n), int64(len(chosen)))
		written, err := within(cmd.Context(), s, func(ctx context.Context) (sdk.Metadata, error) { return t.write(ctx, client) })
		if err != nil {
			cmd.Annotations[explainedPath] = t.path
			return fmt.Errorf("write %s: %w (%s; the same command goes on where this one ended)", t.path, withTimeoutHint(err), outcomeOf(chosen, n))
		}
		t.done, t.written = true, written.Version
		if _, err := fmt.Fprintf(messages, "%s version %d written\n", written.Path, written.Version); err != nil {
			return err
		}
	}
	return left.orNil()
}

// outcomeOf says what is written and what is not, after the n-th failed.
func outcomeOf(chosen []*target, n int) string {
	names := func(targets []*target) string {
		if len(targets) == 0 {
			return "nothing"
		}
		return strings.Join(namesOf(targets, func(t *target) string { return t.path }), ", ")
	}
	return "written: " + names(chosen[:n]) + "; not written: " + names(chosen[n:])
}

// choose asks what is to be written. left are the paths that differ, about which nobody was
// asked, and those that are deleted.
func (s *session) choose(p *plan, f *importFlags) (chosen []*target, left *leftError, err error) {
	left = &leftError{}
	answers := bufio.NewReader(s.in)
	for _, t := range p.targets {
		switch {
		case t.unchanged():
			t.done = true
		case t.deleted > 0 && !f.replaceDeleted:
			left.deleted = append(left.deleted, t.path)
		case !t.has(stateDiffers) || f.overwrite:
			chosen = append(chosen, t)
		case f.yes:
			left.differ = append(left.differ, t.path)
		default:
			ok, err := s.askYes(answers, fmt.Sprintf("Overwrite %s, whose version %d differs?", t.path, t.version))
			if err != nil {
				return nil, nil, err
			}
			if ok {
				chosen = append(chosen, t)
			}
		}
	}
	if len(chosen) == 0 || f.yes {
		return chosen, left, nil
	}
	ok, err := s.askYes(answers, fmt.Sprintf("Write %s?", strings.TrimSuffix(counted(len(chosen), "path", ""), " ")))
	if err == nil && !ok {
		err = errors.New("not confirmed; nothing was changed")
	}
	return chosen, left, err
}

// askYes asks for y or yes; all else is no.
func (s *session) askYes(answers *bufio.Reader, question string) (bool, error) {
	_, _ = fmt.Fprintf(s.err, "%s [y/N] ", question)
	answer, err := s.readLine(answers, "the confirmation")
	if err != nil {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// write writes the target as the successor of what the plan saw.
func (t *target) write(ctx context.Context, client *sdk.Client) (sdk.Metadata, error) {
	value, err := t.value()
	if err != nil {
		return sdk.Metadata{}, err
	}
	if !t.raw {
		defer clear(value)
	}
	r := sdk.PutRequest{Value: value, ExpectedVersion: &t.version, Tags: map[string]string{importedTag: originOf(*t.source)}}
	maps.Copy(r.Tags, withoutTag(t.current.Tags, importedTag))
	if t.current.Description == "" {
		r.Description = new("Imported from " + t.source.String())
	}
	return client.Put(ctx, t.path, r)
}

// originOf is the value of the tag, such as secret:payments/database or file:.env.
func originOf(one source.Source) string {
	origin := one.Name
	if one.Namespace != "" {
		origin = one.Namespace + "/" + origin
	}
	return strings.ToLower(string(one.Kind)) + ":" + origin
}

func withoutTag(tags map[string]string, name string) map[string]string {
	rest := maps.Clone(tags)
	delete(rest, name)
	return rest
}
