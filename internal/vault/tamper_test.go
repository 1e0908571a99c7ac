package vault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// swap exchanges columns of the current versions of the paths p/one and p/two.
func swapVersions(column string) string {
	return `UPDATE secret_versions v SET ` + column + ` = o.` + column + ` FROM secret_versions o
		WHERE o.secret_id <> v.secret_id AND o.version = v.version AND v.version = 2`
}

func swapSecrets(column string) string {
	return `UPDATE secrets s SET ` + column + ` = o.` + column + ` FROM secrets o WHERE o.id <> s.id`
}

// TestTamperedRowsFailClosed edits the database past the engine in every way that
// could serve somebody what is not theirs, or an old value, and reads with a
// caller whom the access policy or a VaultPolicy allows.
func TestTamperedRowsFailClosed(t *testing.T) {
	for name, sql := range map[string]string{
		"box swapped":                   swapVersions("box"),
		"wrapped key swapped":           swapVersions("wrapped_key"),
		"box and wrapped key swapped":   `UPDATE secret_versions v SET box = o.box, wrapped_key = o.wrapped_key FROM secret_versions o WHERE o.secret_id <> v.secret_id AND o.version = v.version`,
		"box of an older version":       `UPDATE secret_versions v SET box = o.box, wrapped_key = o.wrapped_key FROM secret_versions o WHERE o.secret_id = v.secret_id AND o.version = 1 AND v.version = 2`,
		"version rows of another":       `UPDATE secret_versions v SET secret_id = (SELECT id FROM secrets s WHERE s.id <> v.secret_id), version = version + 10; UPDATE secret_versions SET version = version - 10`,
		"versions renumbered":           `UPDATE secret_versions SET version = version + 10; UPDATE secret_versions SET version = 13 - version`,
		"version row deleted":           `DELETE FROM secret_versions WHERE version = 2`,
		"author changed":                `UPDATE secret_versions SET created_by = 'user:somebody'`,
		"date changed":                  `UPDATE secret_versions SET created_at = created_at - interval '1 microsecond'`,
		"current version set back":      `UPDATE secrets SET current_version = 1`,
		"first version set back":        `UPDATE secrets SET first_version = 0`,
		"last version raised":           `UPDATE secrets SET last_version = 7`,
		"revision changed":              `UPDATE secrets SET revision = revision + 1`,
		"service added":                 `UPDATE secrets SET allowed_services = allowed_services || '{evil/api}'`,
		"environment added":             `UPDATE secrets SET allowed_environments = allowed_environments || '{staging}'`,
		"lists exchanged":               `UPDATE secrets SET allowed_services = '{payments/api,production}', allowed_environments = '{production,*}'`,
		"description changed":           `UPDATE secrets SET description = 'x'`,
		"tags changed":                  `UPDATE secrets SET tags = '{"a":"b"}'`,
		"reminder changed":              `UPDATE secrets SET rotate_after_days = 1`,
		"mac emptied":                   `UPDATE secrets SET mac = ''`,
		"mac swapped":                   swapSecrets("mac"),
		"access policies swapped":       swapSecrets("allowed_services"),
		"paths swapped":                 `ALTER TABLE secrets DROP CONSTRAINT secrets_path_key; ` + swapSecrets("path"),
		"paths swapped with their macs": `ALTER TABLE secrets DROP CONSTRAINT secrets_path_key; UPDATE secrets s SET path = o.path, mac = o.mac FROM secrets o WHERE o.id <> s.id`,
	} {
		t.Run(name, func(t *testing.T) {
			env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
			env.Sync(t, "default")
			for path, service := range map[string]string{"p/one": "payments/api", "p/two": "payments/*"} {
				env.PutShared(t, path, "old", &secret.AccessPolicy{AllowedServices: []string{service}, AllowedEnvironments: []string{"production"}})
				env.Put(t, path, "new")
			}
			exec(t, env, sql)
			api := vaulttest.ServiceAccount("payments", "api", "production")
			for _, caller := range []secret.Caller{env.Admin, api} {
				_, err := read(t, env.Engine, caller, ref(t, "p/one", 0))
				wantError(t, err, secret.ErrTampered)
				if got := lastAudit(t, env); got.Decision != audit.Failed || got.Path != "p/one" || got.Caller != caller.String() {
					t.Errorf("audit row: %+v", got)
				}
			}
		})
	}
}

func TestOldHeadRowPutBackIsNoticed(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/one", "old")
	exec(t, env, `CREATE TABLE kept AS SELECT * FROM secrets`)
	env.Put(t, "p/one", "new")
	exec(t, env, `UPDATE secrets s SET current_version = k.current_version, first_version = k.first_version, last_version = k.last_version,
		revision = k.revision, mac = k.mac FROM kept k`)
	_, err := read(t, env.Engine, env.Admin, ref(t, "p/one", 0))
	wantError(t, err, secret.ErrTampered)
	_, err = env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "p/one"), Value: vaulttest.Value(t, "x")})
	wantError(t, err, secret.ErrTampered)
}

// TestHeadRowFromBeforeADeletionPutBackIsNoticed revives a deleted path with the
// very row it had, also when the path lives again.
func TestHeadRowFromBeforeADeletionPutBackIsNoticed(t *testing.T) {
	for name, again := range map[string]bool{"deleted": false, "deleted and written again": true} {
		t.Run(name, func(t *testing.T) {
			env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
			env.Put(t, "p/one", "revoked")
			exec(t, env, `CREATE TABLE kept AS SELECT * FROM secrets`)
			if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "p/one")); err != nil {
				t.Fatal(err)
			}
			if again {
				env.Put(t, "p/one", "new")
			}
			exec(t, env, `UPDATE secrets s SET current_version = k.current_version, first_version = k.first_version,
				last_version = k.last_version, revision = k.revision, deleted_at = k.deleted_at, mac = k.mac FROM kept k`)
			_, err := read(t, env.Engine, env.Admin, ref(t, "p/one", 0))
			wantError(t, err, secret.ErrTampered)
			_, err = env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "p/one")})
			wantError(t, err, secret.ErrTampered)
		})
	}
}

func TestUndeletedBySQLFailsClosed(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/one", "v")
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "p/one")); err != nil {
		t.Fatal(err)
	}
	exec(t, env, `UPDATE secrets SET deleted_at = NULL`)
	_, err := read(t, env.Engine, env.Admin, ref(t, "p/one", 0))
	wantError(t, err, secret.ErrTampered)
}

// TestEveryDoorChecksIntegrity goes through the other operations.
func TestEveryDoorChecksIntegrity(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	path := vaulttest.Path(t, "p/one")
	env.Put(t, "p/one", "v")
	exec(t, env, `UPDATE secrets SET rotate_after_days = 1`)
	ctx := t.Context()
	for name, operate := range map[string]func() error{
		"put": func() error {
			_, err := env.Engine.Put(ctx, env.Admin, secret.PutRequest{Path: path})
			return err
		},
		"rotate": func() error {
			_, err := env.Engine.Rotate(ctx, env.Admin, secret.PutRequest{Path: path})
			return err
		},
		"check": func() error {
			_, err := env.Engine.Check(ctx, env.Admin, []secret.Ref{{Path: path}})
			return err
		},
		"metadata": func() error { _, err := env.Engine.Metadata(ctx, env.Admin, path); return err },
		"list": func() error {
			_, err := env.Engine.List(ctx, env.Admin, secret.Prefix{}, secret.Path{}, 0)
			return err
		},
		"overdue": func() error { _, err := env.Engine.Overdue(ctx, env.Admin, secret.Prefix{}); return err },
		"delete":  func() error { return env.Engine.Delete(ctx, env.Admin, path) },
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, operate(), secret.ErrTampered)
			if got := lastAudit(t, env); got.Decision != audit.Failed || string(got.Action) != name {
				t.Errorf("audit row: %+v", got)
			}
		})
	}
}

// TestWhoIsDeniedLearnsNothingFromACorruptRow: the answer is that of a missing
// path, and the audit row still tells what was found.
func TestWhoIsDeniedLearnsNothingFromACorruptRow(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Sync(t, "default")
	env.Put(t, "p/one", "v")
	exec(t, env, `UPDATE secrets SET revision = 9`)
	stranger := vaulttest.ServiceAccount("other", "api", "")
	_, err := read(t, env.Engine, stranger, ref(t, "p/one", 0))
	wantError(t, err, secret.ErrDenied)
	if errors.Is(err, secret.ErrTampered) {
		t.Error("the stranger is told of the corrupt row")
	}
	if got := lastAudit(t, env); got.Decision != audit.Failed {
		t.Errorf("audit row: %+v", got)
	}
	list, err := env.Engine.List(t.Context(), stranger, secret.Prefix{}, secret.Path{}, 0)
	if err != nil || len(list) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestTamperedPoliciesFailClosed(t *testing.T) {
	for name, sql := range map[string]string{
		"rules widened":           `UPDATE policies SET rules = replace(rules::text, 'a/**', '**')::json WHERE cluster = 'default'`,
		"denial removed":          `DELETE FROM policies WHERE cluster = 'default'`,
		"policy renamed":          `UPDATE policies SET name = 'other' WHERE cluster = 'default'`,
		"revision changed":        `UPDATE policy_sets SET revision = 9 WHERE cluster = 'default'`,
		"set of another":          `UPDATE policy_sets s SET mac = o.mac, revision = o.revision FROM policy_sets o WHERE s.cluster = 'default' AND o.cluster <> 'default'`,
		"policies of another":     `DELETE FROM policies WHERE cluster = 'default'; INSERT INTO policies SELECT 'default', name, rules FROM policies WHERE cluster = 'vaulttest'`,
		"rules that are no rules": `UPDATE policies SET rules = '{"x":1}' WHERE cluster = 'default'`,
	} {
		t.Run(name, func(t *testing.T) {
			env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
			api := vaulttest.ServiceAccount("payments", "api", "production")
			env.AllowAll(t, api, "a/**")
			env.PutShared(t, "a/b", "v", &secret.AccessPolicy{AllowedServices: []string{"*"}, AllowedEnvironments: []string{"*"}})
			wantRead(t, env.Engine, api, ref(t, "a/b", 0), "v")
			exec(t, env, sql)
			replica := env.Open(t)
			_, err := read(t, replica, api, ref(t, "a/b", 0))
			wantError(t, err, secret.ErrTampered)
			if got := lastAudit(t, env); got.Decision != audit.Failed || got.Caller != "payments/api" {
				t.Errorf("audit row: %+v", got)
			}
			env.Sync(t, "default") // the policy controller's next turn
			wantRead(t, replica, api, ref(t, "a/b", 0), "v")
		})
	}
}

// TestRemovedPolicySetIsNoDenial: the operator takes away the Secrets of who is
// denied, so who removes a policy set must not get that from it.
func TestRemovedPolicySetIsNoDenial(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	api := vaulttest.ServiceAccount("payments", "api", "production")
	env.Sync(t, "default")
	env.PutShared(t, "a/b", "v", &secret.AccessPolicy{AllowedServices: []string{"*"}, AllowedEnvironments: []string{"*"}})
	wantRead(t, env.Engine, api, ref(t, "a/b", 0), "v")
	exec(t, env, `DELETE FROM policies WHERE cluster = 'default'; DELETE FROM policy_sets WHERE cluster = 'default'`)
	ctx := t.Context()
	for name, operate := range map[string]func() error{
		"read":                      func() error { _, err := read(t, env.Engine, api, ref(t, "a/b", 0)); return err },
		"read of what is not there": func() error { _, err := read(t, env.Engine, api, ref(t, "a/none", 0)); return err },
		"check": func() error {
			_, err := env.Engine.Check(ctx, api, []secret.Ref{ref(t, "a/b", 0)})
			return err
		},
		"put": func() error {
			_, err := env.Engine.Put(ctx, api, secret.PutRequest{Path: vaulttest.Path(t, "a/b")})
			return err
		},
		"delete": func() error { return env.Engine.Delete(ctx, api, vaulttest.Path(t, "a/b")) },
		"list": func() error {
			_, err := env.Engine.List(ctx, api, secret.Prefix{}, secret.Path{}, 0)
			return err
		},
		"audit": func() error { _, _, err := env.Engine.Audit(ctx, api, audit.Query{}); return err },
		"explain": func() error {
			_, err := env.Engine.Explain(ctx, api, api, vaulttest.Path(t, "a/b"), policy.Read, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := operate()
			wantError(t, err, secret.ErrUnavailable)
			if errors.Is(err, secret.ErrDenied) {
				t.Errorf("it is a denial: %v", err)
			}
			if got := lastAudit(t, env); got.Decision != audit.Failed || got.Caller != "payments/api" || !strings.Contains(got.Rule, "never synced") {
				t.Errorf("audit row: %+v", got)
			}
		})
	}
	env.Sync(t, "default")
	wantRead(t, env.Engine, api, ref(t, "a/b", 0), "v")
}

// TestPolicySetPutBackIsNoticed replays an older, intact policy set: an engine that
// knew the newer one refuses it, and the next sync repairs it on every replica,
// also when Kubernetes wants just what the old set says.
func TestPolicySetPutBackIsNoticed(t *testing.T) {
	for name, after := range map[string]bool{"the newer policies": false, "those of the old set": true} {
		t.Run("synced are "+name, func(t *testing.T) {
			env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
			replica := env.Open(t)
			api := vaulttest.ServiceAccount("payments", "api", "production")
			env.Put(t, "a/b", "v")
			env.AllowAll(t, api, "a/**")
			exec(t, env, `CREATE TABLE kept_sets AS SELECT * FROM policy_sets WHERE cluster = 'default';
				CREATE TABLE kept AS SELECT * FROM policies WHERE cluster = 'default'`)
			old := func() []policy.Policy { return allowing(t, api, "a/**") }
			if _, err := env.Engine.ReplacePolicies(t.Context(), "default", nil); err != nil {
				t.Fatal(err)
			}
			for _, engine := range []*vault.Engine{env.Engine, replica} {
				_, err := read(t, engine, api, ref(t, "a/b", 0))
				wantError(t, err, secret.ErrDenied)
			}
			exec(t, env, `DELETE FROM policies WHERE cluster = 'default'; INSERT INTO policies SELECT * FROM kept;
				UPDATE policy_sets s SET revision = k.revision, mac = k.mac FROM kept_sets k WHERE s.cluster = k.cluster`)
			for _, engine := range []*vault.Engine{env.Engine, replica} {
				_, err := read(t, engine, api, ref(t, "a/b", 0))
				wantError(t, err, secret.ErrTampered)
				if got := lastAudit(t, env); got.Decision != audit.Failed || !strings.Contains(got.Rule, "older") {
					t.Errorf("audit row: %+v", got)
				}
			}
			var wanted []policy.Policy
			if after {
				wanted = old()
			}
			if changed, err := env.Engine.ReplacePolicies(t.Context(), "default", wanted); err != nil || !changed {
				t.Fatalf("the sync after the replay: changed %v, %v", changed, err)
			}
			for _, engine := range []*vault.Engine{env.Engine, replica} {
				if after {
					wantRead(t, engine, api, ref(t, "a/b", 0), "v")
					continue
				}
				_, err := read(t, engine, api, ref(t, "a/b", 0))
				wantError(t, err, secret.ErrDenied)
			}
		})
	}
}

// allowing is the set that Env.AllowAll makes for caller and pattern.
func allowing(t *testing.T, caller secret.Caller, pattern string) []policy.Policy {
	t.Helper()
	paths, err := policy.ParsePattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	named, err := policy.New("vaulttest", []policy.Rule{{
		Effect: policy.Allow, Paths: []policy.Pattern{paths}, Capabilities: policy.Capabilities(),
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: caller.Namespace, Name: caller.Name}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return []policy.Policy{named}
}

// TestPoliciesEditedInPlaceAreNotBelieved: a running engine goes on with the rules
// it verified.
func TestPoliciesEditedInPlaceAreNotBelieved(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	api := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, api, "a/**")
	env.Put(t, "a/b", "v")
	env.Put(t, "z/b", "v")
	wantRead(t, env.Engine, api, ref(t, "a/b", 0), "v")
	exec(t, env, `UPDATE policies SET rules = replace(rules::text, 'a/**', '**')::json WHERE cluster = 'default'`)
	_, err := read(t, env.Engine, api, ref(t, "z/b", 0))
	wantError(t, err, secret.ErrDenied)
	wantRead(t, env.Engine, api, ref(t, "a/b", 0), "v")
}
