package coffertest

import (
	"bytes"
	"encoding/json"
	"errors"
)

var (
	errNoObject = errors.New("the value is no JSON object, so it has no properties to change; write it as a whole")
	errNoPatch  = errors.New("the patch is no JSON object of properties, or names none")
)

// mergePatch is JSON Merge Patch (RFC 7396) of one object by another.
func mergePatch(value, patch []byte) ([]byte, error) {
	target, ok := parseObject(value)
	if !ok {
		return nil, errNoObject
	}
	changes, ok := parseObject(patch)
	if !ok || len(changes) == 0 {
		return nil, errNoPatch
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(merge(target, changes)); err != nil {
		return nil, errNoPatch
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func parseObject(b []byte) (object map[string]any, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber() // numbers keep their digits
	err := decoder.Decode(&object)
	return object, err == nil && object != nil && !decoder.More()
}

func merge(target, patch map[string]any) map[string]any {
	for name, change := range patch {
		switch change := change.(type) {
		case nil:
			delete(target, name)
		case map[string]any:
			into, ok := target[name].(map[string]any)
			if !ok {
				into = map[string]any{}
			}
			target[name] = merge(into, change)
		default:
			target[name] = change
		}
	}
	return target
}
