package cli

import (
	"bytes"
	"context"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/sdk"
)

var update = flag.Bool("update", false, "write the golden files")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pemOf(certificate []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
}

var now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// TestTables compares what people read with golden files.
func TestTables(t *testing.T) {
	database := sdk.Metadata{
		Path: "production/payments/database", Version: 12, Description: "main\tdatabase \x1b[2J", RotateAfterDays: 90,
		Tags:      map[string]string{"team": "payments", "cost": "7"},
		Access:    sdk.AccessPolicy{AllowedServices: []string{"payments/api", "payments/jobs"}, AllowedEnvironments: []string{"production"}},
		CreatedAt: now.Add(-100 * 24 * time.Hour), CreatedBy: "operations/alice",
	}
	plain := sdk.Metadata{Path: "production/payments/stripe", Version: 1, CreatedAt: now.Add(-3 * time.Minute), CreatedBy: "user:bob"}
	tests := map[string]func(*session) error{
		"list":           func(s *session) error { return s.printList([]sdk.Metadata{database, plain}, formatTable, "") },
		"list-name":      func(s *session) error { return s.printList([]sdk.Metadata{database, plain}, formatName, "") },
		"list-yaml":      func(s *session) error { return s.printList([]sdk.Metadata{database}, formatYAML, "") },
		"list-json-none": func(s *session) error { return s.printList(nil, formatJSON, "") },
		"list-none":      func(s *session) error { return s.printList(nil, formatTable, "production/") },
		"describe":       func(s *session) error { return s.printDescription(database) },
		"describe-plain": func(s *session) error { return s.printDescription(plain) },
		"overdue": func(s *session) error {
			return s.printRotations(entriesToShow()[:1], formatTable, "Nothing is overdue", "")
		},
		"rotation-list":      func(s *session) error { return s.printRotations(entriesToShow(), formatTable, "", "") },
		"rotation-list-yaml": func(s *session) error { return s.printRotations(entriesToShow()[:3], formatYAML, "", "") },
		"rotation-list-none": func(s *session) error { return s.printRotations(nil, formatTable, "Nothing is rotated", "staging/") },
		"rotation-show":      func(s *session) error { return s.printRotation(rotationsToShow()[0]) },
		"overdue-none":       func(s *session) error { return s.printRotations(nil, formatTable, "Nothing is overdue", "") },
		"audit": func(s *session) error {
			return s.printAudit([]sdk.AuditEntry{
				{At: now, Caller: "intruder/api", Action: "read", Path: database.Path, Decision: "denied", Address: "10.0.0.9"},
				{At: now.Add(-time.Hour), Caller: "payments/api", Action: "read", Path: database.Path, Version: 12, Decision: "allowed", Rule: "the secret's access policy", Address: "operator"},
				{At: now.Add(-2 * time.Hour), Caller: "system:policy-sync", Action: "policy", Decision: "allowed"},
			})
		},
		"verify-whole": func(s *session) error {
			return s.printVerification(sdk.AuditReport{Rows: 1204, Writers: 3, Unchained: 4, Dropped: 812, Erasable: true, From: new(now.Add(-time.Hour)), To: &now})
		},
		"verify": func(s *session) error {
			const one, two = "3f0c6f5e-5a5e-4a44-9f3c-0b1d7a6f9d11", "8a1d2c3b-7b1f-4d0e-8a55-6c2e1f0b9e22"
			earlier := now.Add(-time.Hour)
			return s.printVerification(sdk.AuditReport{Rows: 1201, Writers: 2, From: &earlier, To: &now, More: 2, Findings: []sdk.AuditFinding{
				{Kind: "missing", Writer: one, First: 7, Last: 7, After: &earlier, Before: &now, Detail: "row 8 of the writer has id 211"},
				{Kind: "changed", Writer: one, First: 9, Last: 9, ID: 212, Action: "read", Path: database.Path, After: &now, Before: &now, Detail: "the row fails its integrity check"},
				{Kind: "truncated", Writer: two, First: 31, Last: 33, After: &now, Detail: "the table of writers knows them"},
			}})
		},
		"keyring": func(s *session) error {
			return s.printKeyring(sdk.KeyringStatus{
				Revision: 7,
				Root:     sdk.KeyringRoot{Kind: "transit", KeyID: "transit/coffer v3", State: sdk.RootMoving},
				Keys: []sdk.KeyringKey{
					{ID: 2843671337, State: sdk.KeyEnabled, CreatedAt: now.Add(-400 * 24 * time.Hour), Versions: 120431},
					{ID: 917264403, State: sdk.KeyPrimary, Versions: 8},
				},
				Replicas: []sdk.KeyringReplica{
					{Name: "coffer-7d9f-a", Revision: 7, SeenAt: now.Add(-time.Second)},
					{Name: "coffer-7d9f-b", Revision: 6, SeenAt: now.Add(-3 * time.Second)},
				},
				Findings: []string{"the row of key 917264403 is missing"},
			})
		},
		"keyring-passphrase": func(s *session) error {
			return s.printKeyring(sdk.KeyringStatus{
				Root: sdk.KeyringRoot{Kind: "passphrase", State: sdk.RootCurrent}, Keys: []sdk.KeyringKey{{ID: 917264403, State: sdk.KeyPrimary, CreatedAt: now}},
			})
		},
		"policies": func(s *session) error {
			return s.printPolicies(sdk.PolicyList{
				PolicySet: sdk.PolicySet{Cluster: "east", Revision: 1769853600, Since: now.Add(-2 * time.Hour)},
				Items:     []sdk.PolicySummary{{Name: "contractors", Rules: 1}, {Name: "payments", Rules: 12}},
			})
		},
		"policy": func(s *session) error {
			return s.printPolicy(sdk.Policy{
				PolicySet: sdk.PolicySet{Cluster: "east", Revision: 1769853600, Since: now.Add(-2 * time.Hour)}, Name: "payments",
				Rules: []sdk.PolicyRule{
					{
						Index: 1, Effect: "Allow", Paths: []string{"production/payments/**", "*/stripe"}, Capabilities: []string{"read", "list"}, Environments: []string{"production"},
						Subjects: sdk.PolicySubjects{ServiceAccounts: []sdk.PolicyServiceAccount{{Namespace: "payments", Name: "*"}, {Namespace: "batch", Name: "api", UID: "0ed1"}}},
					},
					{Index: 3, Effect: "Deny", Paths: []string{"**"}, Capabilities: []string{"read"}, Subjects: sdk.PolicySubjects{Users: []string{"alice"}, Groups: []string{"sre\t"}}, ExpiresAt: now},
					{Index: 4, Effect: "Allow", Paths: []string{"**"}, Capabilities: []string{"audit"}, Subjects: sdk.PolicySubjects{Groups: []string{"auditors"}}, ExpiresAt: now.Add(time.Hour)},
				},
			})
		},
		"status": func(s *session) error {
			return s.printStatus(installationStatus{
				Server: "https://coffer.example", Client: "v0.1.0", Ready: true, Overdue: new(2),
				You: &sdk.Identity{Kind: "ServiceAccount", Cluster: "east", Namespace: "operations", Name: "alice\x1b[2J", Environment: "production"},
				Keyring: &sdk.KeyringStatus{
					Root: sdk.KeyringRoot{Kind: "kms", State: sdk.RootMoving}, Findings: []string{"the row of key 917264403 is missing"},
					Keys:     []sdk.KeyringKey{{ID: 2843671337, State: sdk.KeyEnabled, Versions: 12}, {ID: 917264403, State: sdk.KeyPrimary, Versions: 8}},
					Replicas: []sdk.KeyringReplica{{Name: "coffer-7d9f-a"}},
				},
				Policies: &policiesStatus{sdk.PolicySet{Cluster: "east", Revision: 1769853600, Since: now.Add(-2 * time.Hour)}, 12},
				Audit:    &sdk.AuditReport{Rows: 1204, Writers: 3, Unchained: 4, More: 2, Findings: []sdk.AuditFinding{{Kind: "missing"}}},
			})
		},
		"status-denied": func(s *session) error {
			return s.printStatus(installationStatus{
				Server: "https://coffer.example", Client: "v0.1.0", Ready: true, Overdue: new(0), You: &sdk.Identity{Kind: "User", Cluster: "east", Name: "alice"},
				NotShown: map[string]string{partKeyring: "you may not see it; it needs read on sys/keyring", partAudit: "left out by --skip-verify"},
			})
		},
		"status-away": func(s *session) error {
			return s.printStatus(installationStatus{
				Server: "https://coffer.example", Client: "v0.1.0", NotShown: map[string]string{partReady: "the server at https://coffer.example does not answer: timeout"},
			})
		},
		"explain": func(s *session) error {
			return s.printExplanation(sdk.Explanation{
				Path: database.Path, Capability: "read", Subject: "payments/api", Environment: "staging",
				Matched: []sdk.RuleMatch{
					{Rule: "VaultPolicy temporary rule 1", Effect: "Allow", Path: "production/**", Subject: "serviceaccount payments/*", Outcome: "expired", ExpiresAt: now.Add(-time.Hour)},
					{Rule: "the secret's access policy", Effect: "Allow", Subject: "serviceaccount payments/api", Outcome: "other-environment", Environments: []string{"production"}},
				},
			})
		},
		"explain-allowed": func(s *session) error {
			return s.printExplanation(sdk.Explanation{
				Path: database.Path, Capability: "write", Subject: "user:alice", Allowed: true, Rule: "VaultPolicy admins rule 1",
				Matched: []sdk.RuleMatch{{Rule: "VaultPolicy admins rule 1", Effect: "Allow", Path: "**", Subject: "user alice", Outcome: "applied"}},
			})
		},
	}
	for name, print := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			must(t, print(&session{out: &out, err: &out, now: func() time.Time { return now }}))
			compareGolden(t, filepath.Join("testdata", "golden", name+".txt"), out.Bytes())
		})
	}
}

// rotationsToShow are one that waits for somebody, one by a line, and those that are due by no time.
// entriesToShow are a reminder that is overdue, a rotation of each kind, and one that did not begin when it was due.
func entriesToShow() []rotationEntry {
	reminder := sdk.Rotation{
		Path: "production/payments/api-key", Version: 12, RotateAfterDays: 90, RotatedAt: now.Add(-100 * 24 * time.Hour), DueAt: now.Add(-10 * 24 * time.Hour), Overdue: true,
	}
	entries := []rotationEntry{reminderEntry(&reminder, now)}
	late := sdk.RotationStatus{Path: "production/web/session", Method: "uuid", Every: "1d", Next: now.Add(-3 * time.Hour), OverdueSince: now.Add(-3 * time.Hour), Runs: []sdk.RotationRun{}}
	for _, r := range append(rotationsToShow(), late) {
		entries = append(entries, definedEntry(&r, now))
	}
	return entries
}

func rotationsToShow() []sdk.RotationStatus {
	return []sdk.RotationStatus{
		{Path: "production/payments/database", Cluster: "default", Name: "payments/database", Method: "postgres", Every: "30d", Runs: []sdk.RotationRun{{
			ID: "0b1d7a6f-9d11-4a44-9f3c-3f0c6f5e5a5e", Cluster: "default", Name: "payments/database", State: "propagating", Cause: "hand", By: "user:alice", EnteredAt: now.Add(-25 * time.Hour), From: 3, To: 4,
			Consumers: 3, Moved: 2, WaitsFor: "2 of 3 consumers have the version that is current; approve to go on without the others, or cancel", Problem: "it does not answer",
			Steps: []sdk.RotationStep{
				{At: now.Add(-26 * time.Hour), State: "planned", Detail: "asked for by user:alice"}, {At: now.Add(-26 * time.Hour), State: "created", Detail: "version 4"},
				{At: now.Add(-25 * time.Hour), State: "propagating", Detail: "0 of 3 consumers"},
			},
		}}},
		{Path: "production/payments/session-key", Method: "password", Cron: "30 3 * * 1", TimeZone: "Europe/Berlin", Next: now.Add(time.Hour), Runs: []sdk.RotationRun{}},
		{Path: "production/payments/stripe", Method: "webhook", Runs: []sdk.RotationRun{{State: "done", Cause: "schedule", EnteredAt: now.Add(-time.Hour)}}},
		{Path: "production/payments/tls", Method: "certificate", Every: "30d", Suspended: true},
	}
}

func compareGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s\nif the change is meant: go test ./internal/cli -run %s -update", diff, t.Name())
	}
}

func TestGenerate(t *testing.T) {
	seen := map[byte]bool{}
	for range 100 {
		value := generate(64)
		if len(value) != 64 {
			t.Fatalf("%d characters", len(value))
		}
		for _, c := range value {
			if !strings.ContainsRune(alphabet, rune(c)) {
				t.Fatalf("%q is not in the alphabet", c)
			}
			seen[c] = true
		}
	}
	if len(alphabet) != 64 || len(seen) != 64 {
		t.Errorf("%d characters of %d were used", len(seen), len(alphabet))
	}
	if bytes.Equal(generate(32), generate(32)) {
		t.Error("the same value twice")
	}
}

func TestMoment(t *testing.T) {
	tests := map[string]struct {
		given string
		want  time.Time
		usage bool
	}{
		"nothing":  {"", time.Time{}, false},
		"duration": {"90m", now.Add(-90 * time.Minute), false},
		"time":     {"2026-01-31T08:00:00+01:00", time.Date(2026, 1, 31, 7, 0, 0, 0, time.UTC), false},
		"negative": {"-1h", time.Time{}, true},
		"a word":   {"yesterday", time.Time{}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := moment("since", test.given, now)
			if !got.Equal(test.want) || (err != nil) != test.usage {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestDisplayName(t *testing.T) {
	for program, want := range map[string]string{
		"/usr/local/bin/coffer": "coffer", "kubectl-coffer": "kubectl coffer", "/opt/kubectl-coffer": "kubectl coffer",
	} {
		var out bytes.Buffer
		s := &session{in: strings.NewReader(""), out: &out, err: &out, now: time.Now}
		if code := s.run(context.Background(), []string{program, "get", "--help"}); code != exitOK {
			t.Fatalf("exit code %d", code)
		}
		if !strings.Contains(out.String(), "\n  "+want+" get PATH") {
			t.Errorf("%s calls itself otherwise:\n%s", program, out.String())
		}
	}
}

// Every command that a person can type explains itself.
func TestEveryCommandHasHelp(t *testing.T) {
	for _, cmd := range Root().Commands() {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.Name(), cmd.Short)
		}
	}
}
