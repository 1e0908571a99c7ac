package vault_test

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestUpdateNeedsWhatItChanges: share alone changes the access policy, write alone the
// rest, and a refused update changes nothing.
func TestUpdateNeedsWhatItChanges(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	ctx, path := t.Context(), vaulttest.Path(t, "a/b")
	env.Put(t, "a/b", "one")
	sharer := vaulttest.ServiceAccount("payments", "sharer", "production")
	writer := vaulttest.ServiceAccount("payments", "writer", "production")
	env.Allow(t, sharer, "**", policy.Share)
	env.Allow(t, writer, "**", policy.Write)
	access := &secret.AccessPolicy{AllowedServices: []string{"payments/reader"}, AllowedEnvironments: []string{"*"}}
	share := secret.UpdateRequest{Path: path, Access: access}
	describe := secret.UpdateRequest{Path: path, Description: new("the database"), Tags: map[string]string{"a": "b"}, MaxVersions: new(3)}
	both := secret.UpdateRequest{Path: path, Description: new("x"), Access: access}
	for _, refused := range []struct {
		caller secret.Caller
		update secret.UpdateRequest
	}{{sharer, describe}, {sharer, both}, {writer, share}, {writer, both}} {
		_, err := env.Engine.Update(ctx, refused.caller, refused.update)
		wantError(t, err, secret.ErrDenied)
		if got := lastAudit(t, env); got.Action != audit.Update || got.Decision != audit.Denied {
			t.Errorf("audit row of a refused update: %+v", got)
		}
	}
	reader := vaulttest.ServiceAccount("payments", "reader", "production")
	_, err := read(t, env.Engine, reader, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
	_, err = env.Engine.Update(ctx, sharer, share)
	must(t, err)
	if got := lastAudit(t, env); got.Action != audit.Update || got.Decision != audit.Allowed || got.Version != 1 {
		t.Errorf("audit row of an update: %+v", got)
	}
	wantRead(t, env.Engine, reader, ref(t, "a/b", 0), "one")
	m, err := env.Engine.Update(ctx, writer, describe)
	if err != nil || m.Version != 1 || m.Description != "the database" || m.Tags["a"] != "b" || m.MaxVersions != 3 || len(m.Access.AllowedServices) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	wantVersions(t, env, "1 live current")

	both.ExpectedVersion = new(int64(2))
	_, err = env.Engine.Update(ctx, env.Admin, both)
	wantError(t, err, secret.ErrConflict)
	_, err = env.Engine.Update(ctx, env.Admin, secret.UpdateRequest{Path: path})
	wantError(t, err, secret.ErrInvalid)
	_, err = env.Engine.Update(ctx, env.Admin, secret.UpdateRequest{Path: vaulttest.Path(t, "a/none"), Access: access})
	wantError(t, err, secret.ErrDenied)
}

// TestOldAccessPutBack: the row from before a changed access policy is refused.
func TestOldAccessPutBack(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.PutShared(t, "a/b", "one", &secret.AccessPolicy{AllowedServices: []string{"*"}, AllowedEnvironments: []string{"*"}})
	exec(t, env, `CREATE TABLE kept AS SELECT * FROM secrets`)
	_, err := env.Engine.Update(t.Context(), env.Admin, secret.UpdateRequest{Path: vaulttest.Path(t, "a/b"), Access: &secret.AccessPolicy{}})
	must(t, err)
	exec(t, env, `UPDATE secrets s SET allowed_services = k.allowed_services, allowed_environments = k.allowed_environments,
		revision = k.revision, amended_revision = k.amended_revision, mac = k.mac FROM kept k`)
	_, err = read(t, env.Engine, env.Admin, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrTampered)
}
