package rotation

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
)

func valid() Definition {
	return Definition{
		Name: "payments/database", As: Identity{Namespace: "payments", ServiceAccount: "rotator"},
		Spec: Spec{Path: "production/payments/database", Method: Method{Kind: "password"}, Schedule: schedule.Spec{Cron: "@weekly"}},
	}
}

func TestValidate(t *testing.T) {
	d := valid()
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Definition){
		"give 1 to 507":                 func(d *Definition) { d.Name = "" },
		"in whose name it is done":      func(d *Definition) { d.As.ServiceAccount = "" },
		"invalid path":                  func(d *Definition) { d.Path = "/" },
		"does not begin with sys":       func(d *Definition) { d.Path = "sys/keyring" },
		"invalid schedule":              func(d *Definition) { d.Schedule.Cron = "x" },
		"name a rotator or a generator": func(d *Definition) { d.Method.Kind = "" },
		"give 0s or more":               func(d *Definition) { d.Consumed.Grace = new(model.Duration(-1)) },
		"give none, or one above 0":     func(d *Definition) { d.Consumed.Wait = -1 },
		"write Ask or Proceed":          func(d *Definition) { d.Consumed.Then = "ask" },
		"write RollBack or Hold":        func(d *Definition) { d.Failure = "Stop" },
		"1001 attempts; give 1 to 1000": func(d *Definition) { d.Attempts = 1001 },
	} {
		d := valid()
		change(&d)
		if err := d.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestDefinitionAsWritten by people is read as it is meant.
func TestDefinitionAsWritten(t *testing.T) {
	const written = `{"name":"payments/database","as":{"namespace":"payments","serviceAccount":"rotator"},"path":"production/payments/database",
		"schedule":{"every":"30d","timeZone":"Europe/Berlin","windows":[{"days":["Sat","Sun"],"from":"22:00","to":"04:00"}],"jitter":"1h30m"},
		"method":{"kind":"postgres","settings":{"roles":["a","b"]}},"consumed":{"grace":"0s","wait":"2d","then":"Proceed"},"onFailure":"Hold","attempts":3}`
	var got Definition
	if err := json.Unmarshal([]byte(written), &got); err != nil {
		t.Fatal(err)
	}
	want := valid()
	want.Schedule = schedule.Spec{
		Every: model.Duration(30 * 24 * time.Hour), TimeZone: "Europe/Berlin", Jitter: model.Duration(90 * time.Minute),
		Windows: []schedule.Window{{Days: []string{"Sat", "Sun"}, From: "22:00", To: "04:00"}},
	}
	want.Method = Method{Kind: "postgres", Settings: json.RawMessage(`{"roles":["a","b"]}`)}
	want.Consumed = Consumed{Grace: new(model.Duration(0)), Wait: model.Duration(48 * time.Hour), Then: Proceed}
	want.Failure, want.Attempts = Hold, 3
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}
