package vaultrotation

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/method"
	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
)

func specOf(t *testing.T, text string) *vaultv1alpha1.VaultRotationSpec {
	t.Helper()
	spec := &vaultv1alpha1.VaultRotationSpec{}
	if err := yaml.UnmarshalStrict([]byte(text), spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestConvert(t *testing.T) {
	spec := specOf(t, `
path: a/b
serviceAccountRef: {namespace: payments, name: rotator}
schedule: {every: 30d, timeZone: Europe/Berlin, windows: [{days: [Sat, Sun], from: "22:00", to: "06:00"}], jitter: 1h30m}
method: {generate: {uuid: {}}}
consumed: {grace: 0s, wait: 4h, then: Proceed}
onFailure: Hold
attempts: 3
suspend: true`)
	got, err := convert(spec)
	if err != nil {
		t.Fatal(err)
	}
	want := rotation.Spec{
		Path: "a/b",
		Schedule: schedule.Spec{
			Every: model.Duration(30 * 24 * time.Hour), TimeZone: "Europe/Berlin", Jitter: model.Duration(90 * time.Minute),
			Windows: []schedule.Window{{Days: []string{"Sat", "Sun"}, From: "22:00", To: "06:00"}},
		},
		Method:   rotation.Method{Kind: method.Generate, Settings: json.RawMessage(`{"uuid":{}}`)},
		Consumed: rotation.Consumed{Grace: new(model.Duration(0)), Wait: model.Duration(4 * time.Hour), Then: rotation.Proceed},
		Failure:  rotation.Hold, Attempts: 3, Suspended: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("converted (-want +got):\n%s", diff)
	}
	if got, err := convert(specOf(t, `{path: a, method: {generate: {uuid: {}}}, schedule: {cron: 30 3 * * 1}}`)); err != nil || got.Schedule.Cron != "30 3 * * 1" || got.Consumed.Grace != nil {
		t.Errorf("converted to %+v, %v", got, err)
	}
}

// What is written under a method is what its settings are: each field has the same name and form there, and one that they do not know is
// refused by them.
func TestSettingsAreTheMethods(t *testing.T) {
	const password = `password: {length: 40, classes: [{name: lower, minimum: 1}, {characters: "-_", minimum: 2}], exclude: lo}`
	for kind, texts := range map[string][]string{
		method.Generate: {
			`{` + password + `, property: token}`,
			`{uuid: {}, property: id}`,
			`{sshKey: {algorithm: RSA, size: 4096, comment: deploy@production}}`,
			`{keyPair: {algorithm: EC, size: 384}}`,
			`{authority: platform/ca, certificate: {commonName: db, organizations: [Example], dnsNames: [db.example.org], ipAddresses: [192.0.2.1],
			  uris: ["spiffe://example.org/db"], emailAddresses: [a@example.org], usages: [server, client], lifetime: 2160h, renewBefore: 720h,
			  key: {algorithm: RSA, size: 2048}}}`,
		},
		method.Postgres: {
			`{credential: a/b, host: db, port: 5433, database: shop, tls: {serverName: db.example.org}, alternatingRoles: [a, b], endSessions: true, ` + password + `}`,
			`{credential: a/b, host: db, database: shop, tls: {disabled: true}, role: a}`,
		},
		method.MySQL: {
			`{credential: a/b, host: db, port: 3307, tls: {serverName: db}, alternatingUsers: [a, b], accountHost: "10.%", authentication: ed25519, endSessions: true, ` + password + `}`,
			`{credential: a/b, host: db, tls: {disabled: true}, user: a}`,
		},
		method.Redis: {
			`{credential: a/b, addresses: ["a:6379", "b:6379"], tls: {serverName: cache}, user: app, persistence: configFile, ` + password + `}`,
		},
		method.Webhook: {`{credential: a/b, url: "https://rotator.example.org/coffer", noOverlap: true}`},
	} {
		for _, text := range texts {
			spec := specOf(t, "{path: a, method: {"+kind+": "+text+"}}")
			converted, err := convert(spec)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if converted.Method.Kind != kind {
				t.Errorf("%s: the kind is %s", text, converted.Method.Kind)
			}
			var want, got any
			if err := yaml.Unmarshal([]byte(text), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(converted.Method.Settings, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-written +settings):\n%s", kind, diff)
			}
			if err := (method.Methods{}).Check(kind, converted.Method.Settings); err != nil {
				t.Errorf("%s: %v", converted.Method.Settings, err)
			}
		}
	}
}

// An object of an older CRD may say what the API server would refuse now.
func TestConvertRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{path: a, method: {}}`: "set exactly one of them",
		`{path: a, method: {generate: {uuid: {}}, redis: {credential: a, user: a, addresses: []}}}`: "method has 2 of",
		`{path: a, method: {generate: {uuid: {}}}, schedule: {every: often}}`:                       `schedule.every is "often"`,
		`{path: a, method: {generate: {uuid: {}}}, schedule: {every: 0s}}`:                          "schedule.every is no time",
		`{path: a, method: {generate: {uuid: {}}}, schedule: {every: 1d, cron: "@daily"}}`:          "both every and cron",
		`{path: a, method: {generate: {uuid: {}}}, schedule: {every: 1d, jitter: "-1h"}}`:           "schedule.jitter is",
		`{path: a, method: {generate: {uuid: {}}}, consumed: {grace: soon}}`:                        `consumed.grace is "soon"`,
		`{path: a, method: {generate: {uuid: {}}}, consumed: {wait: 1x}}`:                           `consumed.wait is "1x"`,
	} {
		if _, err := convert(specOf(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}
