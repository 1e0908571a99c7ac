package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// propertyFlags make a value of named properties, a JSON object of strings.
type propertyFlags struct {
	sources, literals []string
}

func (p *propertyFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&p.sources, "property", nil,
		"property of the value: NAME=@FILE, or NAME to be asked for it, or to take it from standard input; may be repeated")
	flags.StringArrayVar(&p.literals, "property-literal", nil,
		"property as NAME=VALUE, for what is no secret: command lines are seen by others; may be repeated")
}

func (p *propertyFlags) given() bool { return len(p.sources)+len(p.literals) > 0 }

// readProperties returns the value that has exactly the properties of p.
func (s *session) readProperties(path string, p propertyFlags, trimNewline bool) ([]byte, error) {
	properties, err := s.gatherProperties(path, p, trimNewline)
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(properties)
	if err == nil && len(value) > maxValueBytes {
		err = fmt.Errorf("the properties have more than %d bytes, the most that one version can hold", maxValueBytes)
	}
	return value, err
}

// gatherProperties returns the properties of p by their names.
func (s *session) gatherProperties(path string, p propertyFlags, trimNewline bool) (map[string]string, error) {
	if _, err := p.names(s.onTerminal()); err != nil {
		return nil, err
	}
	properties := map[string]string{}
	for _, literal := range p.literals {
		name, value, _ := strings.Cut(literal, "=")
		if err := addProperty(properties, name, []byte(value)); err != nil {
			return nil, err
		}
	}
	for _, source := range p.sources {
		name, file, err := parseSource(source)
		if err != nil {
			return nil, err
		}
		value, err := s.readValue("the property "+name+" of "+path, valueSource{file: file, trimNewline: trimNewline})
		if err != nil {
			return nil, err
		}
		err = addProperty(properties, name, value)
		clear(value)
		if err != nil {
			return nil, err
		}
	}
	return properties, nil
}

// names returns what p names, and refuses what no value could be read for.
func (p *propertyFlags) names(terminal bool) (names []string, err error) {
	if err := p.oneFromInput(terminal); err != nil {
		return nil, err
	}
	for _, literal := range p.literals {
		name, _, ok := strings.Cut(literal, "=")
		if !ok || name == "" {
			return nil, usagef("--property-literal is not NAME=VALUE")
		}
		names = append(names, name)
	}
	for _, source := range p.sources {
		name, _, err := parseSource(source)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, givenTwice(name)
		}
	}
	return names, nil
}

func givenTwice(name string) error { return usagef("the property %q is given twice", name) }

// oneFromInput refuses several properties from one standard input; on a terminal
// each is asked for.
func (p *propertyFlags) oneFromInput(terminal bool) error {
	var from []string
	for _, source := range p.sources {
		if !strings.Contains(source, "=") {
			from = append(from, source)
		}
	}
	if len(from) > 1 && !terminal {
		return usagef("--property %s and %s: standard input has the value of one only; write NAME=@FILE for the others", from[0], from[1])
	}
	return nil
}

// parseSource reads NAME=@FILE, or NAME. Its errors do not repeat a value that was
// given by mistake.
func parseSource(source string) (name, file string, err error) {
	name, rest, named := strings.Cut(source, "=")
	file, isFile := strings.CutPrefix(rest, "@")
	switch {
	case name == "" || isFile && file == "":
		return "", "", usagef("--property is NAME=@FILE or NAME")
	case named && !isFile:
		return "", "", usagef("--property %s=…: a value is never an argument; write %s=@FILE, or %s alone to be asked for it", name, name, name)
	}
	return name, file, nil
}

func addProperty(properties map[string]string, name string, value []byte) error {
	if !utf8.Valid(value) {
		return usagef("the property %q is not UTF-8 text, which properties are; put it in base64, or as a value without properties", name)
	}
	properties[name] = string(value)
	return nil
}

func (s *session) onTerminal() bool {
	_, ok := terminalOf(s.in)
	return ok
}
