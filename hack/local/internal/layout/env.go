package layout

import (
	"fmt"
	"os"
	"strings"
)

// Variable is one line of the environment file.
type Variable struct {
	Name, Value string
	// Prepend puts the value before what the variable has already, as lists of directories want.
	Prepend bool
}

// Exports renders variables as a POSIX shell reads them.
func Exports(variables []Variable) string {
	var b strings.Builder
	for _, v := range variables {
		after := ""
		if v.Prepend {
			after = fmt.Sprintf(`"${%s:+:$%s}"`, v.Name, v.Name)
		}
		fmt.Fprintf(&b, "export %s=%s%s\n", v.Name, quote(v.Value), after)
	}
	return b.String()
}

// quote makes one word of s, whatever is in it.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// WriteEnv writes the environment file. It holds a token: it is the owner's alone.
func (l Layout) WriteEnv(variables []Variable) error {
	if err := os.WriteFile(l.EnvFile(), []byte(Exports(variables)), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", l.EnvFile(), err)
	}
	return nil
}
