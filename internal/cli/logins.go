package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// login is how to get a token, and for which installation. It never has the token.
type login struct {
	Name string `json:"name"`
	// Kubeconfig is a file; that of kubectl when empty.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// Context of the kubeconfig.
	Context string `json:"context"`
	// Namespace of the installation.
	Namespace string `json:"namespace"`
	// ServiceAccount is NAMESPACE/NAME.
	ServiceAccount string `json:"serviceAccount"`
	Audience       string `json:"audience,omitempty"`
	// Address is the server's URL; found in the cluster when empty.
	Address string `json:"address,omitempty"`
}

// logins is the file that coffer login writes.
type logins struct {
	// Current is the name of the login that commands use.
	Current string  `json:"current,omitempty"`
	Logins  []login `json:"logins"`
}

// loginsFile is where the logins are: $XDG_CONFIG_HOME/coffer/config.yaml, below
// ~/.config when that is not set.
func loginsFile() (string, error) {
	folder := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(folder) { // as the XDG base directory specification has it
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the folder of Coffer's configuration: %w; set XDG_CONFIG_HOME", err)
		}
		folder = filepath.Join(home, ".config")
	}
	return filepath.Join(folder, "coffer", "config.yaml"), nil
}

// readLogins reads the file; there are no logins when there is none.
func readLogins() (logins, error) {
	file, err := loginsFile()
	if err != nil {
		return logins{}, err
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return logins{}, nil
	}
	if err != nil {
		return logins{}, fmt.Errorf("read the logins: %w", err)
	}
	var l logins
	if err := yaml.UnmarshalStrict(content, &l); err != nil {
		return logins{}, fmt.Errorf("read the logins in %s: %w; mend the file, or remove it and log in again", file, err)
	}
	return l, nil
}

// write replaces the file.
func (l logins) write() error {
	file, err := loginsFile()
	if err != nil {
		return err
	}
	content, err := yaml.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode the logins: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("write the logins: %w", err)
	}
	return replace(file, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// named returns the login of a name.
func (l logins) named(name string) (login, bool) {
	i := slices.IndexFunc(l.Logins, func(l login) bool { return l.Name == name })
	if i < 0 {
		return login{}, false
	}
	return l.Logins[i], true
}

// pick returns the login that a command uses: the current one, or when the command names
// a context of the kubeconfig one for that. It is empty when there is none.
func (l logins) pick(context string) login {
	current, _ := l.named(l.Current)
	if context == "" || current.Context == context {
		return current
	}
	i := slices.IndexFunc(l.Logins, func(l login) bool { return l.Context == context })
	if i < 0 {
		return login{}
	}
	return l.Logins[i]
}

// add puts a login in, in place of the one of its name, and makes it current.
func (l *logins) add(added login) {
	l.remove(added.Name)
	l.Logins = append(l.Logins, added)
	slices.SortFunc(l.Logins, func(a, b login) int { return strings.Compare(a.Name, b.Name) })
	l.Current = added.Name
}

// remove takes the login of a name out; no other becomes current for it.
func (l *logins) remove(name string) {
	l.Logins = slices.DeleteFunc(l.Logins, func(l login) bool { return l.Name == name })
	if l.Current == name {
		l.Current = ""
	}
}
