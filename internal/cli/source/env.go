package source

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// References says what a "$" in a value of a .env file means. Programs that load such files
// differ in it: some take it as it is written, some for a reference to another variable.
type References string

// What a "$" means.
const (
	// ReferencesRefuse takes no value for which it makes a difference.
	ReferencesRefuse References = ""
	// ReferencesKeep takes every "$" as it is written.
	ReferencesKeep References = "keep"
	// ReferencesExpand does as docker compose: $NAME and ${NAME} are the value of a variable
	// of the file, and $$ is a "$".
	ReferencesExpand References = "expand"
)

const wellFormedEnv = "a .env file: each line is NAME=VALUE or a # comment, and a value with a line break stands in quotes"

// parseEnv reads NAME=VALUE lines by the rules of docker compose, but for references.
func parseEnv(file string, content []byte, references References) ([]Entry, error) {
	kept, err := keepReferences(file, content)
	if err != nil {
		return nil, err
	}
	if references == ReferencesKeep || !bytes.ContainsRune(content, '$') {
		return entriesOf(kept), nil
	}
	expanded, err := expandReferences(file, content, kept)
	if references == ReferencesExpand {
		return entriesOf(expanded), err
	}
	var differ []string
	for _, key := range slices.Sorted(maps.Keys(kept)) {
		if value := kept[key]; strings.Contains(value, "$") && (err != nil || expanded[key] != value) {
			differ = append(differ, key)
		}
	}
	if len(differ) == 0 {
		return entriesOf(kept), nil
	}
	return nil, fmt.Errorf("%s: %s has a $ outside single quotes, which some programs take as it is and others for a reference to a variable; give --env-references keep, or expand",
		file, strings.Join(differ, ", "))
}

// keepReferences reads the file with every "$" as it is written.
func keepReferences(file string, content []byte) (map[string]string, error) {
	// The parser knows no such mode, so it sees another character in its place, of those that
	// Unicode leaves to private use.
	standIn, err := unusedRune(file, content)
	if err != nil {
		return nil, err
	}
	hidden := strings.ReplaceAll(string(content), "$", standIn)
	bare := map[string]bool{}
	found, err := dotenv.ParseWithLookup(strings.NewReader(hidden), func(name string) (string, bool) {
		bare[name] = true // a name without "=", which docker takes from its environment
		return "", false
	})
	if err != nil {
		return nil, malformed(file, wellFormedEnv, err)
	}
	if len(bare) > 0 {
		return nil, fmt.Errorf("%s%s: this is not %s", file, bareLine(hidden, bare), wellFormedEnv)
	}
	for key, value := range found {
		if key == "" || strings.Contains(key, standIn) {
			return nil, fmt.Errorf("%s: this is not %s", file, wellFormedEnv)
		}
		found[key] = strings.ReplaceAll(value, standIn, "$")
	}
	return found, nil
}

// unusedRune is a character that the content does not have.
func unusedRune(file string, content []byte) (string, error) {
	for r := rune(0xE000); r <= 0xF8FF; r++ {
		if !bytes.ContainsRune(content, r) {
			return string(r), nil
		}
	}
	return "", fmt.Errorf("%s is not %s", file, wellFormedEnv)
}

// bareLine says where the first line with nothing but a name is. The name itself may be a
// piece of a value.
func bareLine(content string, bare map[string]bool) string {
	number := 0
	for line := range strings.Lines(content) {
		number++
		if bare[strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export "))] {
			return fmt.Sprintf(", line %d", number)
		}
	}
	return ""
}

var errReferences = errors.New("it refers to a variable that it does not set, or its references are not well formed; give --env-references keep to take every $ as it is written")

// Bounds of what references make: how long a chain of them may be, and how many bytes they
// bring in all, so that a few lines cannot fill the memory.
const (
	maxReferences = 32
	maxExpanded   = 4 << 20
)

// expandReferences reads the file as docker compose does in an empty environment, but that a
// variable may be set further down, too. names are those that it sets.
func expandReferences(file string, content []byte, names map[string]string) (map[string]string, error) {
	// The parser asks for each variable. One that is not known yet is given as a mark, and
	// found in the next round, when what it is made from is known.
	mark, err := unusedRune(file, content)
	if err != nil {
		return nil, err
	}
	known := map[string]string{}
	for range maxReferences {
		missing, brought := false, 0
		found, err := dotenv.ParseWithLookup(bytes.NewReader(content), func(name string) (string, bool) {
			if value, ok := known[name]; ok && brought <= maxExpanded {
				brought += len(value)
				return value, true
			}
			_, later := names[name]
			missing = missing || !later
			return mark, true // "not set" would have the parser log the name
		})
		if err != nil || missing || brought > maxExpanded {
			break
		}
		before := known
		known = map[string]string{}
		for name, value := range found {
			if !strings.Contains(value, mark) {
				known[name] = value
			}
		}
		if len(known) == len(found) && maps.Equal(known, before) {
			return known, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", file, errReferences)
}

func entriesOf(values map[string]string) []Entry {
	entries := make([]Entry, 0, len(values))
	for key, value := range values {
		entries = append(entries, Entry{key, []byte(value)})
	}
	return entries
}
