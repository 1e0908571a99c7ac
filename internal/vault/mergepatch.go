package vault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// object is a JSON object whose members stay as they were written: numbers keep their
// digits.
type object map[string]json.RawMessage

// Errors of a merge. They hold nothing of the value or the patch.
var (
	errNoObject = fmt.Errorf("%w: the value is no JSON object, so it has no properties to change; write it as a whole", secret.ErrInvalid)
	errNoPatch  = fmt.Errorf("%w: the patch is no JSON object of properties, in which null removes one and anything else sets it", secret.ErrInvalid)
	errNoChange = fmt.Errorf("%w: the patch names no property", secret.ErrInvalid)
	errTooDeep  = fmt.Errorf("%w: the patch has objects or lists within each other more than %d deep; write the value as a whole", secret.ErrInvalid, maxPatchDepth)
	// errMergedTooLarge does not say how large: who may write need not know the size of what
	// is there.
	errMergedTooLarge = fmt.Errorf("%w: the value would have more than %d bytes with the patch", secret.ErrInvalidValue, secret.MaxValueBytes)
)

// maxPatchDepth bounds a merge, which takes memory for the patch once for each depth. Values
// with properties have one or two.
const maxPatchDepth = 16

// mergePatch is JSON Merge Patch, RFC 7396, of one object by another. It is written here
// since the library at hand (evanphx/json-patch) drops nulls inside of arrays, which the
// RFC takes over as they are.
func mergePatch(value, patch []byte) ([]byte, error) {
	target, ok := parseObject(value)
	if !ok {
		return nil, errNoObject
	}
	changes, ok := parseObject(patch)
	if !ok {
		return nil, errNoPatch
	}
	if err := target.apply(changes); err != nil {
		return nil, err
	}
	return target.encode()
}

// checkPatch refuses what mergePatch would, before anything is asked, and a patch that
// changes nothing.
func checkPatch(patch []byte) error {
	changes, ok := parseObject(patch)
	switch {
	case !ok:
		return errNoPatch
	case len(changes) == 0:
		return errNoChange
	case depthOf(patch) > maxPatchDepth:
		return errTooDeep
	}
	return nil
}

// depthOf is how many objects and lists of valid JSON stand within each other at most.
func depthOf(text []byte) int {
	depth, deepest := 0, 0
	inString, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

func (o object) apply(patch object) error {
	for name, change := range patch {
		if string(change) == "null" {
			delete(o, name)
			continue
		}
		if !looksLikeObject(change) {
			o[name] = change
			continue
		}
		changes, ok := parseObject(change)
		if !ok {
			return errNoPatch
		}
		into := object{}
		if looksLikeObject(o[name]) {
			if into, ok = parseObject(o[name]); !ok {
				return errNoObject
			}
		}
		if err := into.apply(changes); err != nil {
			return err
		}
		encoded, err := into.encode()
		if err != nil {
			return err
		}
		o[name] = encoded
	}
	return nil
}

func (o object) encode() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(o); err != nil {
		return nil, errNoPatch
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func looksLikeObject(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && b[0] == '{'
}

// parseObject reads a JSON object of Unicode text. One with a name that has half of a
// surrogate pair is none: the name would become another.
func parseObject(b []byte) (o object, ok bool) {
	if !looksLikeObject(b) || !utf8.Valid(b) {
		return nil, false
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, false
	}
	for name := range o {
		if secret.IsReplaced(name, b) {
			return nil, false
		}
	}
	return o, true
}
