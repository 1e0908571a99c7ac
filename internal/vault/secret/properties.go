package secret

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// RawKey is the key under which a value without properties stands in a
// Kubernetes Secret.
const RawKey = "value"

// Properties returns the named parts of v when v is one JSON object whose
// values are all strings, such as {"user":"app","password":"…"}. Any other value
// is raw, and ok is false: also one with bytes that are no UTF-8 or with half of a
// surrogate pair, which encoding/json would replace.
func Properties(v Value) (properties map[string]string, ok bool) {
	trimmed := bytes.TrimSpace(v.Bytes())
	if len(trimmed) == 0 || trimmed[0] != '{' || !utf8.Valid(trimmed) {
		return nil, false
	}
	// Pointers tell a JSON null, which is not a string, from "".
	var parts map[string]*string
	if err := json.Unmarshal(trimmed, &parts); err != nil {
		return nil, false
	}
	properties = make(map[string]string, len(parts))
	for key, part := range parts {
		if part == nil || IsReplaced(key, trimmed) || IsReplaced(*part, trimmed) {
			return nil, false
		}
		properties[key] = *part
	}
	return properties, true
}

// IsReplaced reports whether a decoded string has the replacement character though the
// JSON that it is of has not: then encoding/json put it there.
func IsReplaced(decoded string, source []byte) bool {
	return strings.ContainsRune(decoded, utf8.RuneError) && !bytes.ContainsRune(source, utf8.RuneError) &&
		!bytes.Contains(bytes.ToLower(source), []byte(`\ufffd`))
}
