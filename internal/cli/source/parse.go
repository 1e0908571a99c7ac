package source

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Format is how a file is written.
type Format string

// The formats. JSON and YAML files may be manifests of Secrets and ConfigMaps.
const (
	FormatEnv  Format = "env"
	FormatJSON Format = "json"
	FormatYAML Format = "yaml"
)

// Formats are all formats.
func Formats() []string { return []string{string(FormatEnv), string(FormatJSON), string(FormatYAML)} }

// FormatOf tells the format by the name of the file: .env, production.env, .env.local, and
// .json, .yaml, .yml. It is empty when the name does not tell.
func FormatOf(file string) Format {
	base := strings.ToLower(filepath.Base(file))
	switch extension := filepath.Ext(base); {
	case extension == ".json":
		return FormatJSON
	case extension == ".yaml", extension == ".yml":
		return FormatYAML
	case extension == ".env", strings.HasPrefix(base, ".env."), base == "env":
		return FormatEnv
	}
	return ""
}

// Parsed is what a file has.
type Parsed struct {
	Sources []Source
	// Skipped says which objects of manifests are not imported, and why.
	Skipped []string
}

// Parse reads the content of a file, whose name is for messages. References says what a "$"
// in a .env file means.
func Parse(file string, format Format, content []byte, references References) (Parsed, error) {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")) // some editors begin UTF-8 with it
	if !utf8.Valid(content) {
		return Parsed{}, fmt.Errorf("%s is not UTF-8 text; save it as UTF-8", file)
	}
	switch format {
	case FormatEnv:
		entries, err := parseEnv(file, content, references)
		if err != nil {
			return Parsed{}, err
		}
		return one(file, entries)
	case FormatJSON:
		return parseJSON(file, content)
	case FormatYAML:
		return parseYAML(file, content)
	default:
		return Parsed{}, fmt.Errorf("the name of %s does not say what it is; give --format %s", file, strings.Join(Formats(), ", "))
	}
}

// one is a file that is one source.
func one(file string, entries []Entry) (Parsed, error) {
	s, err := newSource(Source{Kind: KindFile, Name: file}, entries)
	if err != nil {
		return Parsed{}, err
	}
	return Parsed{Sources: []Source{s}}, nil
}

// lineOf finds the line in what a parser says. Nothing else of it is repeated, since parsers
// quote what they read.
var lineOf = regexp.MustCompile(`^(?:yaml: )?line (\d{1,9}):`)

// malformed is an error for content that a parser refuses.
func malformed(file, what string, parser error) error {
	at := ""
	if match := lineOf.FindStringSubmatch(parser.Error()); match != nil {
		at = ", line " + match[1]
	}
	return fmt.Errorf("%s%s: this is not %s", file, at, what)
}
