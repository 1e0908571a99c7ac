package sdk_test

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/sdk"
)

func found(value string) sdk.Secret {
	return sdk.Secret{Metadata: sdk.Metadata{Path: "a/b", Version: 3}, Value: []byte(value)}
}

func TestProperty(t *testing.T) {
	const value = ` {"user":"app","empty":"","port":5432,"list":[1, 2],"none":null,"half":"\ud800"}`
	for name, test := range map[string]struct{ value, want, err string }{
		"user":  {value, "app", ""},
		"empty": {value, "", ""},
		"port":  {value, "5432", ""},
		"list":  {value, "[1, 2]", ""},
		"none":  {value, "", `read property "none" of a/b@3: the value has no such property`},
		"User":  {value, "", "exact case"},
		"half":  {value, "", "not all Unicode"},
		"raw":   {"hunter2", "", "no JSON object"},
		"cut":   {`{"cut":"hunter2`, "", "no JSON object"},
		"bytes": {"{\"bytes\":\"\xff\"}", "", "no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := found(test.value).Property(name)
			wantError(t, err, test.err)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := found("hunter2").Text(); got != "hunter2" {
		t.Error("Text is not the value")
	}
}

// wantError wants an error that says want, and nothing of the values of these tests.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got the error %v, want %q", err, want)
	}
	if err != nil && strings.Contains(err.Error(), "hunter") {
		t.Errorf("the error has the value: %v", err)
	}
}

// Limits is embedded in target.
type Limits struct {
	Connections uint8 `coffer:"connections,optional"`
}

type target struct {
	Limits

	User     string            `coffer:"user"`
	Password []byte            `coffer:"password"`
	Key      []byte            `coffer:"key,optional,base64"`
	Port     int               `json:"port,omitempty"`
	Ratio    float32           `coffer:"ratio,optional" json:"other"`
	TLS      bool              `coffer:"tls,optional"`
	Timeout  time.Duration     `coffer:"timeout,optional"`
	Since    time.Time         `coffer:"since,optional"`
	Host     *netip.Addr       `coffer:"host"`
	Options  map[string]string `coffer:"options,optional"`
	Raw      json.RawMessage   `coffer:"raw,optional"`
	Replica  struct {
		Host string `coffer:"host"`
		Port int    `coffer:"port,optional"`
	} `coffer:"replica,optional"`
	Untagged string
	Skipped  string `coffer:"-" json:"user"`
	hidden   string `coffer:"user"` //nolint:unused // a field that cannot be set
}

const least = `"user":"app","password":"hunter2"`

func TestDecode(t *testing.T) {
	base := func(change func(*target)) target {
		want := target{User: "app", Password: []byte("hunter2"), Port: 5432}
		want.Replica.Port = 1
		if change != nil {
			change(&want)
		}
		return want
	}
	for name, test := range map[string]struct {
		value string
		want  target
		err   string
	}{
		"the least":                     {`{` + least + `}`, base(nil), ""},
		"null is absent":                {`{"port":null,` + least + `}`, base(nil), ""},
		"more than is asked":            {`{"Untagged":"x","-":"y","User":"z",` + least + `}`, base(nil), ""},
		"a number":                      {`{"port":1,` + least + `}`, base(func(t *target) { t.Port = 1 }), ""},
		"a number in text":              {`{"port":"-1",` + least + `}`, base(func(t *target) { t.Port = -1 }), ""},
		"a number with a point":         {`{"port":1.5,` + least + `}`, target{}, `property "port" is not a whole number of at most 64 bits`},
		"a number that is words":        {`{"port":"hunter",` + least + `}`, target{}, `property "port" is not a whole number`},
		"a fraction":                    {`{"ratio":0.5,` + least + `}`, base(func(t *target) { t.Ratio = 0.5 }), ""},
		"no fraction":                   {`{"ratio":"hunter",` + least + `}`, target{}, `property "ratio" is not a number`},
		"infinite":                      {`{"ratio":"inf",` + least + `}`, target{}, `property "ratio" is not a number`},
		"a bool":                        {`{"tls":true,` + least + `}`, base(func(t *target) { t.TLS = true }), ""},
		"a bool in text":                {`{"tls":"true",` + least + `}`, base(func(t *target) { t.TLS = true }), ""},
		"a bool that is none":           {`{"tls":"hunter",` + least + `}`, target{}, `property "tls" is not true or false`},
		"embedded":                      {`{"connections":255,` + least + `}`, base(func(t *target) { t.Connections = 255 }), ""},
		"embedded and too large":        {`{"connections":256,` + least + `}`, target{}, `property "connections" is not a whole number from 0 of at most 8 bits`},
		"base64":                        {`{"key":"AP8=",` + least + `}`, base(func(t *target) { t.Key = []byte{0, 255} }), ""},
		"no base64":                     {`{"key":"hunter",` + least + `}`, target{}, `property "key" is not base64`},
		"a duration":                    {`{"timeout":"1m30s",` + least + `}`, base(func(t *target) { t.Timeout = 90 * time.Second }), ""},
		"a duration without a unit":     {`{"timeout":30,` + least + `}`, target{}, `property "timeout" is not a duration with its unit`},
		"a duration that is words":      {`{"timeout":"hunter",` + least + `}`, target{}, `property "timeout" is not a duration`},
		"a time":                        {`{"since":"2026-01-31T09:00:00Z",` + least + `}`, base(func(t *target) { t.Since = time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC) }), ""},
		"a time that is words":          {`{"since":"hunter",` + least + `}`, target{}, `property "since" is not what its field takes`},
		"a pointer":                     {`{"host":"10.0.0.1",` + least + `}`, base(func(t *target) { t.Host = new(netip.MustParseAddr("10.0.0.1")) }), ""},
		"a pointer to what is none":     {`{"host":"hunter",` + least + `}`, target{}, `property "host" is not what its field takes`},
		"a map":                         {`{"options":{"a":"b"},` + least + `}`, base(func(t *target) { t.Options = map[string]string{"a": "b"} }), ""},
		"a map that is none":            {`{"options":"hunter",` + least + `}`, target{}, `property "options" is not what its field takes`},
		"raw JSON":                      {`{"raw":{"a": 1},` + least + `}`, base(func(t *target) { t.Raw = json.RawMessage(`{"a": 1}`) }), ""},
		"nested":                        {`{"replica":{"host":"b"},` + least + `}`, base(func(t *target) { t.Replica.Host = "b" }), ""},
		"nested and missing":            {`{"replica":{"port":"hunter"},` + least + `}`, target{}, `property "replica.host" is missing; property "replica.port" is not a whole number`},
		"nested and none":               {`{"replica":"hunter",` + least + `}`, target{}, `property "replica" is not a JSON object`},
		"text that is a number":         {`{"user":1,"password":"hunter2"}`, target{}, `property "user" is not text`},
		"text with half of a character": {`{"user":"\udc00","password":"hunter2"}`, target{}, `property "user" is text that is not all Unicode`},
		"everything missing":            {`{}`, target{}, `decode a/b@3: property "user" is missing; property "password" is missing`},
		"no object":                     {`hunter2`, target{}, `decode a/b@3: the value is no JSON object`},
	} {
		t.Run(name, func(t *testing.T) {
			got := target{Port: 5432}
			got.Replica.Port = 1
			before := got
			wantError(t, found(test.value).Decode(&got), test.err)
			want := test.want
			if test.err != "" {
				want = before
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(target{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestDecodeIntoWhatIsNoStruct(t *testing.T) {
	var text string
	for name, into := range map[string]any{"nothing": nil, "a struct": target{}, "a nil pointer": (*target)(nil), "text": &text} {
		t.Run(name, func(t *testing.T) {
			wantError(t, found(`{"user":"hunter2"}`).Decode(into), "give a pointer to a struct")
		})
	}
}

// decodeWords is everything that an error of Decode may say of target.
var decodeWords = regexp.MustCompile(`^decode a/b@3: (the value is no JSON object, so it has no properties; Value and Text give it as a whole|` +
	`(property "(user|password|key|port|ratio|tls|timeout|since|host|options|raw|connections|replica|replica\.host|replica\.port)" is [-A-Za-z0-9(), ;."]+)+)$`)

// FuzzDecode: no value makes Decode panic, change what it failed on, or say more than
// which properties are wrong; what it takes as text is what encoding/json reads.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `hunter2`, `{` + least + `}`, `{"port":1e400,` + least + `}`, `{"replica":{"host":"b","port":"1"},` + least + `}`,
		`{"key":"AP8=","timeout":"1h","since":"x","host":"::1","options":{"a":"b"},"raw":[1],"tls":"true","ratio":1,` + least + `}`,
		`{"user":"\ud800","password":"\ufffd"}`, `{"user":null,"user":"a","password":""}`, "{\"user\":\"\xff\"}", `{"connections":-1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var got target
		err := found(string(value)).Decode(&got)
		if err != nil {
			if !decodeWords.MatchString(err.Error()) {
				t.Errorf("the error says more than it may: %v", err)
			}
			if got.User != "" || got.Password != nil {
				t.Error("it failed and changed the struct")
			}
			return
		}
		var want struct{ User, Password *string }
		var properties map[string]json.RawMessage
		must(t, json.Unmarshal(value, &properties))
		must(t, json.Unmarshal(properties["user"], &want.User))
		must(t, json.Unmarshal(properties["password"], &want.Password))
		if got.User != *want.User || string(got.Password) != *want.Password {
			t.Error("the text is another than encoding/json reads")
		}
		if text, err := found(string(value)).Property("user"); err != nil || text != got.User {
			t.Errorf("Property gives another text: %v", err)
		}
	})
}
