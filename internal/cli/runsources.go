package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/coffer-vault/coffer/sdk"
)

// runSource is one value for a process: from a path, or a property of it, to a variable or a
// file.
type runSource struct {
	path, property string
	// variable is empty for all properties of the path, under names that begin with prefix.
	variable, prefix string
	// file is a name in the folder; empty for the environment.
	file string
}

type sourceList []runSource

// maxWatched is how many paths the server watches at once (sdk.WatchOptions).
const maxWatched = 64

func (f runFlags) sources() (sourceList, error) {
	if f.prefix != "" && !variableName.MatchString(f.prefix) {
		return nil, usagef("--prefix %q cannot begin the name of a variable", f.prefix)
	}
	var all sourceList
	for _, given := range f.env {
		src, err := parseVariable(given, f.prefix)
		if err != nil {
			return nil, err
		}
		all = append(all, src)
	}
	for _, given := range f.files {
		src, err := parseFile(given)
		if err != nil {
			return nil, err
		}
		all = append(all, src)
	}
	if len(all) == 0 {
		return nil, usagef("say what the process is to have: --env PATH, --env NAME=PATH#PROPERTY or --file PATH=FILE")
	}
	if n := len(all.paths()); n > maxWatched {
		return nil, usagef("%d paths are more than %d, the most for one process", n, maxWatched)
	}
	return all, nil
}

// parseVariable reads PATH, NAME=PATH or NAME=PATH#PROPERTY.
func parseVariable(given, prefix string) (runSource, error) {
	name, ref, named := strings.Cut(given, "=")
	if !named {
		ref = name
	}
	path, property, ok := cutProperty(ref)
	if !ok || path == "" || !named && property != "" {
		return runSource{}, usagef("--env %q is not PATH, NAME=PATH or NAME=PATH#PROPERTY", given)
	}
	if !named {
		return runSource{path: path, prefix: prefix}, nil
	}
	if !variableName.MatchString(name) {
		return runSource{}, usagef("--env %q: %q is no name of a variable", given, name)
	}
	return runSource{path: path, property: property, variable: name}, nil
}

// parseFile reads PATH=FILE or PATH#PROPERTY=FILE.
func parseFile(given string) (runSource, error) {
	ref, file, named := strings.Cut(given, "=")
	path, property, ok := cutProperty(ref)
	if !ok || !named || path == "" || file == "" {
		return runSource{}, usagef("--file %q is not PATH=FILE or PATH#PROPERTY=FILE", given)
	}
	clean := filepath.Clean(file)
	if !filepath.IsLocal(file) || clean == "." {
		return runSource{}, usagef("--file %q: %s is no name below the folder of the files, such as tls.key", given, file)
	}
	return runSource{path: path, property: property, file: clean}, nil
}

// cutProperty splits PATH#PROPERTY.
func cutProperty(ref string) (path, property string, ok bool) {
	path, property, named := strings.Cut(ref, "#")
	return path, property, !named || property != ""
}

// variableName is what shells take for a variable.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// notInVariables is what a property's name has and a variable's has not.
var notInVariables = regexp.MustCompile(`[^A-Z0-9_]`)

func (l sourceList) paths() []string {
	paths := map[string]bool{}
	for _, src := range l {
		paths[src.path] = true
	}
	return slices.Sorted(maps.Keys(paths))
}

func (l sourceList) files() []string {
	var files []string
	for _, src := range l {
		if src.file != "" {
			files = append(files, src.file)
		}
	}
	return files
}

// values are what a process gets.
type values struct {
	// env are variables by name.
	env map[string]string
	// files are contents by name in the folder.
	files map[string][]byte
}

// digest tells values apart without holding them.
func (v values) digest() [sha256.Size]byte {
	env := map[string][]byte{} // a string that is no UTF-8 would be encoded as another one
	for name, value := range v.env {
		env[name] = []byte(value)
	}
	files := map[string][]byte{}
	maps.Copy(files, v.files)
	encoded, _ := json.Marshal([]map[string][]byte{env, files}) // maps of bytes always can be
	defer clear(encoded)
	return sha256.Sum256(encoded)
}

// read reads each path once. Its errors name paths and properties, never a value.
func (l sourceList) read(ctx context.Context, get func(context.Context, string) (sdk.Secret, error)) (values, error) {
	v := values{env: map[string]string{}, files: map[string][]byte{}}
	read := map[string]sdk.Secret{}
	for _, path := range l.paths() {
		found, err := get(ctx, path)
		if err != nil {
			return v, err
		}
		read[path] = found
	}
	for _, src := range l {
		if err := v.add(src, read[src.path]); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (v values) add(src runSource, found sdk.Secret) error {
	value := string(found.Value)
	if src.property != "" {
		var err error
		if value, err = propertyOf(found, src.property); err != nil {
			return err
		}
	}
	switch {
	case src.file != "":
		if _, twice := v.files[src.file]; twice {
			return usagef("the file %s is given twice", src.file)
		}
		v.files[src.file] = []byte(value)
		return nil
	case src.variable != "":
		return v.set(src.path, src.variable, value)
	}
	properties, err := propertiesOf(found, "name a variable for the whole value: --env NAME="+src.path)
	if err != nil {
		return err
	}
	for _, property := range slices.Sorted(maps.Keys(properties)) {
		name := src.prefix + notInVariables.ReplaceAllString(strings.ToUpper(property), "_")
		if !variableName.MatchString(name) {
			return fmt.Errorf("the property %q of %s makes no name of a variable; give --prefix, or name one: --env NAME=%s#%s", property, src.path, src.path, property)
		}
		if decidesWhatRuns(name) {
			return fmt.Errorf("the property %q of %s would set %s, by which whoever may write the secret decides what runs here; give --prefix, or name it: --env %s=%s#%s",
				property, src.path, name, name, src.path, property)
		}
		if properties[property] == nil {
			return fmt.Errorf("the property %q of %s is null, which no variable can be; name the properties that are to be set: --env NAME=%s#PROPERTY", property, src.path, src.path)
		}
		if err := v.set(src.path, name, *properties[property]); err != nil {
			return err
		}
	}
	return nil
}

// decidesWhatRuns reports whether a variable has the loader, a shell or an interpreter run
// something else than what was asked for.
func decidesWhatRuns(variable string) bool {
	switch variable {
	case "PATH", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "IFS", "PS4", "PROMPT_COMMAND", "EDITOR", "VISUAL", "PAGER",
		"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PERL5LIB", "PERL5OPT", "RUBYLIB", "RUBYOPT", "NODE_OPTIONS", "NODE_PATH",
		"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "GOFLAGS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GLIBC_TUNABLES":
		return true
	default:
		return strings.HasPrefix(variable, "LD_") || strings.HasPrefix(variable, "DYLD_")
	}
}

func (v values) set(path, name, value string) error {
	if _, twice := v.env[name]; twice {
		return fmt.Errorf("the variable %s would be set twice; give --prefix, or other names", name)
	}
	if strings.Contains(value, "\x00") {
		return fmt.Errorf("the value of %s for the variable %s has a NUL byte, which no variable can have; give it by --file", path, name)
	}
	v.env[name] = value
	return nil
}
