package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

const wellFormedJSON = "a well-formed JSON object"

// parseJSON reads one JSON object: of names and values, or a manifest.
func parseJSON(file string, content []byte) (Parsed, error) {
	if !json.Valid(content) {
		return Parsed{}, fmt.Errorf("%s%s: this is not %s", file, jsonLine(content), wellFormedJSON)
	}
	if isManifest(content) {
		return parseManifests(file, content)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber() // numbers keep the text that they have
	tree := flattening{file: file}
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return Parsed{}, fmt.Errorf("%s is not an object of names and values; write {\"NAME\": \"VALUE\"}", file)
	}
	if err := tree.object(decoder, "", 0); err != nil {
		return Parsed{}, err
	}
	return tree.parsed()
}

// jsonLine is where the first mistake is.
func jsonLine(content []byte) string {
	var anything json.RawMessage
	syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(content, &anything))
	if !ok || syntax.Offset > int64(len(content)) {
		return ""
	}
	return fmt.Sprintf(", line %d", 1+bytes.Count(content[:syntax.Offset], []byte("\n")))
}

// object reads the members of an object whose brace is read.
func (f *flattening) object(decoder *json.Decoder, prefix string, depth int) error {
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("%s is not %s", f.file, wellFormedJSON)
		}
		key, err := f.join(prefix, name.(string), depth)
		if err != nil {
			return err
		}
		if err := f.json(decoder, key, depth); err != nil {
			return err
		}
	}
	_, err := decoder.Token()
	return err
}

// array reads the items of an array whose bracket is read.
func (f *flattening) array(decoder *json.Decoder, prefix string, depth int) error {
	for i := 0; decoder.More(); i++ {
		key, err := f.join(prefix, strconv.Itoa(i), depth)
		if err != nil {
			return err
		}
		if err := f.json(decoder, key, depth); err != nil {
			return err
		}
	}
	_, err := decoder.Token()
	return err
}

func (f *flattening) json(decoder *json.Decoder, key string, depth int) error {
	token, err := decoder.Token()
	if err != nil {
		return fmt.Errorf("%s is not %s", f.file, wellFormedJSON)
	}
	switch value := token.(type) {
	case json.Delim:
		if value == '{' {
			return f.object(decoder, key, depth+1)
		}
		return f.array(decoder, key, depth+1)
	case string:
		f.leaf(key, []byte(value))
	case json.Number:
		f.leaf(key, []byte(value.String()))
	case bool:
		f.leaf(key, strconv.AppendBool(nil, value))
	default:
		f.null(key)
	}
	return nil
}
