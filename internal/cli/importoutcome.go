package cli

import (
	"cmp"
	"errors"
)

// importOutcome is what became of a path of an import.
type importOutcome struct {
	Path string `json:"path"`
	// Version is the one that is current now; 0 when there is none.
	Version int64 `json:"version,omitempty"`
	// Done is written, unchanged or left.
	Done string `json:"done"`
}

func (t *target) outcome() importOutcome {
	switch {
	case t.written > 0:
		return importOutcome{t.path, t.written, "written"}
	case t.done:
		return importOutcome{t.path, t.version, string(stateUnchanged)}
	}
	return importOutcome{t.path, t.version, "left"}
}

// printOutcome prints what became of the paths for programs, also when some were not written, and returns why. An import that did not begin
// has nothing to tell.
func (s *session) printOutcome(p *plan, failed error, output string) error {
	outcomes, written := make([]importOutcome, len(p.targets)), []string{}
	for n, t := range p.targets {
		if outcomes[n] = t.outcome(); t.written > 0 {
			written = append(written, t.path)
		}
	}
	_, left := errors.AsType[*leftError](failed)
	if failed != nil && !left && len(written) == 0 {
		return failed
	}
	return cmp.Or(failed, s.print(output, result{data: outcomes, names: written}))
}
