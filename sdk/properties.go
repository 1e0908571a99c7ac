package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Why a value or a property cannot be had. They hold nothing of it.
var (
	errNoObject   = errors.New("the value is no JSON object, so it has no properties; Value and Text give it as a whole")
	errNotUnicode = errors.New("is text that is not all Unicode, which would be read as another; write it anew, in base64 when it is binary")
)

// Text returns the value as text, such as a password. It is a copy, which cannot be
// cleared: use Value where that matters. It is not named String, since fmt and loggers call
// that by themselves: String prints no value.
func (s Secret) Text() string { return string(s.Value) }

// Bytes returns a copy of the value, for who keeps it when Value is cleared.
func (s Secret) Bytes() []byte { return bytes.Clone(s.Value) }

// Property returns one property of a value that is a JSON object, such as
// {"user":"app","password":"…"}: text as it is, anything else as the JSON that it is. A
// property that is null is taken as one that is not there.
//
// Errors name the secret and the property, never the value.
func (s Secret) Property(name string) (string, error) {
	properties, err := propertiesOf(s.Value)
	if err != nil {
		return "", fmt.Errorf("read property %q of %s: %w", name, s, err)
	}
	raw, ok := properties[name]
	if !ok {
		return "", fmt.Errorf("read property %q of %s: the value has no such property; names count in their exact case", name, s)
	}
	if raw[0] != '"' {
		return string(raw), nil
	}
	text, err := textOf(raw)
	if err != nil {
		return "", fmt.Errorf("read property %q of %s: it %w", name, s, err)
	}
	return text, nil
}

// propertiesOf returns the properties of a JSON object that are not null, as they are
// written there.
func propertiesOf(value []byte) (map[string]json.RawMessage, error) {
	value = bytes.TrimLeft(value, " \t\r\n")
	if len(value) == 0 || value[0] != '{' || !utf8.Valid(value) {
		return nil, errNoObject
	}
	var properties map[string]json.RawMessage
	if json.Unmarshal(value, &properties) != nil {
		return nil, errNoObject // the decoder's words quote the value
	}
	for name, raw := range properties {
		if string(raw) == "null" {
			delete(properties, name)
		}
	}
	return properties, nil
}

// textOf reads a JSON string. One with half of a surrogate pair is refused:
// encoding/json would put another character there without a word.
func textOf(raw []byte) (string, error) {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return "", errNoText
	}
	if isReplaced(text, raw) {
		return "", errNotUnicode
	}
	return text, nil
}

// isReplaced reports whether text has the replacement character though the JSON that
// it is of has not.
func isReplaced(text string, source []byte) bool {
	replacement := []byte(string(utf8.RuneError))
	return bytes.Contains([]byte(text), replacement) && !bytes.Contains(source, replacement) &&
		!bytes.Contains(bytes.ToLower(source), []byte(`\ufffd`))
}
