package sdk

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Why a property does not fit its field. What stands in the property is never said.
var (
	errMissing    = errors.New("is missing")
	errNoText     = errors.New("is not text, that is a JSON string")
	errNoBase64   = errors.New("is not base64 (RFC 4648, standard alphabet, padded)")
	errNoBool     = errors.New("is not true or false")
	errNoDuration = errors.New(`is not a duration with its unit, such as "30s"`)
	errNoNested   = errors.New("is not a JSON object")
	errOther      = errors.New("is not what its field takes")
)

// Decode reads the properties of a value that is a JSON object into the fields of the
// struct that into points to:
//
//	var database struct {
//		User     string        `coffer:"user"`
//		Password []byte        `coffer:"password"`
//		Port     int           `coffer:"port,optional"`
//		Timeout  time.Duration `coffer:"timeout,optional"`
//	}
//	err := secret.Decode(&database)
//
// A field takes the property that its tag "coffer" names, or its tag "json" when it has
// no other; a field without either, or with the name "-", stays as it is. Names count in
// their exact case, and properties without a field are passed over. A property must be
// there and not null, unless the tag says "optional" (with json "omitempty" or
// "omitzero") or the field is a pointer: then the field stays as it is.
//
// What a field takes:
//   - string and []byte take text; []byte takes binary data as base64 with the option
//     "base64". Clear []byte after use; a string cannot be cleared.
//   - integers, floats and bool take what JSON has of them, and also text that reads so,
//     since the properties of synced Secrets are all text. What does not fit is an error.
//   - time.Duration takes text with a unit, such as "30s".
//   - a type with UnmarshalText, such as time.Time and netip.Addr, takes text.
//   - a struct takes an object by the same rules, and an embedded one without a tag takes
//     from the object that it stands in.
//   - a type with UnmarshalJSON, a map, a slice, json.RawMessage and any take what
//     encoding/json gives them.
//
// The error names the secret and every property that is missing or does not fit, never
// what stands in it; into is unchanged then.
func (s Secret) Decode(into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode %s: into is %T; give a pointer to a struct", s, into)
	}
	properties, err := propertiesOf(s.Value)
	if err != nil {
		return fmt.Errorf("decode %s: %w", s, err)
	}
	var problems decodeProblems
	decoded := decodeStruct(target.Elem(), properties, "", &problems)
	if len(problems) > 0 {
		return fmt.Errorf("decode %s: %w", s, problems)
	}
	target.Elem().Set(decoded)
	return nil
}

// decodeProblem is a property that is missing or does not fit.
type decodeProblem struct {
	property string
	err      error
}

// decodeProblems is all that is wrong, in the order of the fields.
type decodeProblems []decodeProblem

// Error implements error.
func (p decodeProblems) Error() string {
	said := make([]string, len(p))
	for i, problem := range p {
		said[i] = fmt.Sprintf("property %q %v", problem.property, problem.err)
	}
	return strings.Join(said, "; ")
}

// decodeStruct returns a copy of target with the properties in its fields. Prefix is
// the name of the property that the object is, with a closing dot.
func decodeStruct(target reflect.Value, properties map[string]json.RawMessage, prefix string, problems *decodeProblems) reflect.Value {
	decoded := reflect.New(target.Type()).Elem()
	decoded.Set(target)
	for i := range decoded.NumField() {
		field := decoded.Type().Field(i)
		tag := parseFieldTag(field)
		switch {
		case tag.name == "" && field.Anonymous && field.IsExported() && field.Type.Kind() == reflect.Struct && !tag.skip:
			decoded.Field(i).Set(decodeStruct(decoded.Field(i), properties, prefix, problems))
			continue
		case tag.name == "" || !field.IsExported():
			continue
		}
		raw, ok := properties[tag.name]
		if !ok {
			if !tag.optional {
				*problems = append(*problems, decodeProblem{prefix + tag.name, errMissing})
			}
			continue
		}
		if err := decodeField(decoded.Field(i), raw, tag, prefix, problems); err != nil {
			*problems = append(*problems, decodeProblem{prefix + tag.name, err})
		}
	}
	return decoded
}

// fieldTag is what the tags of a field say.
type fieldTag struct {
	name                   string // "" when no property is named
	skip, optional, base64 bool
}

func parseFieldTag(field reflect.StructField) (tag fieldTag) {
	text, ok := field.Tag.Lookup("coffer")
	if !ok {
		text = field.Tag.Get("json")
	}
	name, options, _ := strings.Cut(text, ",")
	tag.optional = field.Type.Kind() == reflect.Pointer
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "optional":
			tag.optional = tag.optional || ok
		case "omitempty", "omitzero":
			tag.optional = tag.optional || !ok
		case "base64":
			tag.base64 = ok
		}
	}
	if name == "-" {
		tag.skip = true
		return tag
	}
	tag.name = name
	return tag
}

var (
	durationType        = reflect.TypeFor[time.Duration]()
	bytesType           = reflect.TypeFor[[]byte]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

// decodeField sets one field. What is wrong inside of a nested struct goes to problems.
func decodeField(field reflect.Value, raw json.RawMessage, tag fieldTag, prefix string, problems *decodeProblems) error {
	if field.Kind() == reflect.Pointer {
		pointed := reflect.New(field.Type().Elem())
		if err := decodeField(pointed.Elem(), raw, tag, prefix, problems); err != nil {
			return err
		}
		field.Set(pointed)
		return nil
	}
	pointer := reflect.PointerTo(field.Type())
	switch {
	case field.Type() == durationType:
		return decodeDuration(field, raw)
	case pointer.Implements(textUnmarshalerType):
		return decodeText(field, raw)
	case pointer.Implements(jsonUnmarshalerType):
		return decodeJSON(field, raw)
	case field.Type() == bytesType:
		return decodeBytes(field, raw, tag.base64)
	}
	switch field.Kind() {
	case reflect.String:
		text, err := textOf(raw)
		field.SetString(text)
		return err
	case reflect.Struct:
		properties, err := propertiesOf(raw)
		if err != nil {
			return errNoNested
		}
		field.Set(decodeStruct(field, properties, prefix+tag.name+".", problems))
		return nil
	default:
		if field.Kind() == reflect.Bool || field.CanInt() || field.CanUint() || field.CanFloat() {
			return decodeScalar(field, raw)
		}
		return decodeJSON(field, raw)
	}
}

func decodeDuration(field reflect.Value, raw json.RawMessage) error {
	text, err := textOf(raw)
	if err != nil {
		return errNoDuration
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errNoDuration // its own words quote the text
	}
	field.SetInt(int64(d))
	return nil
}

func decodeText(field reflect.Value, raw json.RawMessage) error {
	text, err := textOf(raw)
	if err != nil {
		return err
	}
	fresh := reflect.New(field.Type())
	if fresh.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)) != nil {
		return errOther // what it says may quote the text
	}
	field.Set(fresh.Elem())
	return nil
}

func decodeBytes(field reflect.Value, raw json.RawMessage, encoded bool) error {
	text, err := textOf(raw)
	if err != nil {
		return err
	}
	value := []byte(text)
	if encoded {
		if value, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
			return errNoBase64
		}
	}
	field.SetBytes(value)
	return nil
}

// decodeJSON leaves a field to encoding/json, which begins with nothing: a map of the
// caller's must not change when another property fails.
func decodeJSON(field reflect.Value, raw json.RawMessage) error {
	fresh := reflect.New(field.Type())
	if json.Unmarshal(raw, fresh.Interface()) != nil {
		return errOther // its own words may quote the value
	}
	field.Set(fresh.Elem())
	return nil
}

// decodeScalar reads a bool or a number, which may stand in text.
func decodeScalar(field reflect.Value, raw json.RawMessage) error {
	text := string(raw)
	if text[0] == '"' {
		var err error
		if text, err = textOf(raw); err != nil {
			return err
		}
	}
	bits := 0
	if field.Kind() != reflect.Bool {
		bits = field.Type().Bits()
	}
	switch {
	case field.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return errNoBool
		}
		field.SetBool(text == "true")
	case field.CanInt():
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return fmt.Errorf("is not a whole number of at most %d bits", bits)
		}
		field.SetInt(n)
	case field.CanUint():
		n, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			return fmt.Errorf("is not a whole number from 0 of at most %d bits", bits)
		}
		field.SetUint(n)
	default:
		n, err := strconv.ParseFloat(text, bits)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return fmt.Errorf("is not a number of at most %d bits", bits)
		}
		field.SetFloat(n)
	}
	return nil
}
