package secret

import (
	"bytes"
	"encoding/json"
)

// RawKey is the key under which a value without properties stands in a
// Kubernetes Secret.
const RawKey = "value"

// Properties returns the named parts of v when v is one JSON object whose
// values are all strings, such as {"user":"app","password":"…"}. Any other value
// is raw, and ok is false.
func Properties(v Value) (properties map[string]string, ok bool) {
	trimmed := bytes.TrimSpace(v.Bytes())
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, false
	}
	// Pointers tell a JSON null, which is not a string, from "".
	var parts map[string]*string
	if err := json.Unmarshal(trimmed, &parts); err != nil {
		return nil, false
	}
	properties = make(map[string]string, len(parts))
	for key, part := range parts {
		if part == nil {
			return nil, false
		}
		properties[key] = *part
	}
	return properties, true
}
