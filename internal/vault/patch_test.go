package vault_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func patchOf(t *testing.T, path, patch string) secret.PatchRequest {
	t.Helper()
	return secret.PatchRequest{Path: vaulttest.Path(t, path), Patch: vaulttest.Value(t, patch)}
}

// TestPatch sets and removes properties in a new version, with the write capability
// alone, and leaves what stands beside the value.
func TestPatch(t *testing.T) {
	env := vaulttest.Start(t)
	writer := vaulttest.ServiceAccount("team", "writer", "production")
	env.Allow(t, writer, "a/**", policy.Write)
	_, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{
		Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, `{"user":"app","password":"one","old":"x"}`), Description: new("the database"),
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := env.Engine.Patch(t.Context(), writer, patchOf(t, "a/b", `{"password":"two","old":null}`))
	if err != nil || m.Version != 2 || m.Description != "the database" || m.CreatedBy != "team/writer" {
		t.Errorf("%+v, %v", m, err)
	}
	if entry := lastAudit(t, env); entry.Action != audit.Patch || entry.Version != 2 || entry.Decision != audit.Allowed || entry.Caller != "team/writer" {
		t.Errorf("audit: %+v", entry)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), `{"password":"two","user":"app"}`)
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 1), `{"user":"app","password":"one","old":"x"}`)

	expecting := patchOf(t, "a/b", `{"password":"three"}`)
	expecting.ExpectedVersion = new(int64(1))
	_, err = env.Engine.Patch(t.Context(), writer, expecting)
	wantError(t, err, secret.ErrConflict)
	expecting.ExpectedVersion = new(int64(2))
	if m, err = env.Engine.Patch(t.Context(), writer, expecting); err != nil || m.Version != 3 {
		t.Errorf("%+v, %v", m, err)
	}
	// After a rollback the current version counts, not the newest.
	if _, err := env.Engine.Rollback(t.Context(), env.Admin, ref(t, "a/b", 1), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Engine.Patch(t.Context(), writer, patchOf(t, "a/b", `{"old":null}`)); err != nil {
		t.Fatal(err)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), `{"password":"one","user":"app"}`)
}

// TestPatchRefusals: each is audited where a decision was made, and none says anything
// of a value.
func TestPatchRefusals(t *testing.T) {
	env := vaulttest.Start(t)
	reader := vaulttest.ServiceAccount("team", "reader", "production")
	env.Allow(t, reader, "**", policy.Read, policy.List, policy.Rotate)
	env.Put(t, "a/raw", "canary")
	env.Put(t, "a/b", `{"a":"canary"}`)
	env.Put(t, "a/full", `{"a":"`+strings.Repeat("v", secret.MaxValueBytes-8)+`"}`)
	env.Put(t, "a/gone", `{"a":"canary"}`)
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "a/gone")); err != nil {
		t.Fatal(err)
	}
	env.Put(t, "a/broken", `{"a":"canary"}`)
	exec(t, env, `UPDATE secret_versions v SET box = set_byte(box, 50, 255 - get_byte(box, 50)) FROM secrets s WHERE s.id = v.secret_id AND s.path = 'a/broken'`)
	for name, test := range map[string]struct {
		caller      secret.Caller
		path, patch string
		want        error
		audited     audit.Decision
	}{
		"raw value":      {env.Admin, "a/raw", `{"a":"canary"}`, secret.ErrInvalid, audit.Failed},
		"too large":      {env.Admin, "a/full", `{"b":"canary"}`, secret.ErrInvalidValue, audit.Failed},
		"missing":        {env.Admin, "a/missing", `{"a":"canary"}`, secret.ErrDenied, audit.Denied},
		"deleted":        {env.Admin, "a/gone", `{"a":"canary"}`, secret.ErrDenied, audit.Denied},
		"may not write":  {reader, "a/b", `{"a":"canary"}`, secret.ErrDenied, audit.Denied},
		"tampered":       {env.Admin, "a/broken", `{"a":"canary"}`, secret.ErrTampered, audit.Failed},
		"no patch":       {env.Admin, "a/b", `["canary"]`, secret.ErrInvalid, ""},
		"empty patch":    {env.Admin, "a/b", `{}`, secret.ErrInvalid, ""},
		"reserved path":  {env.Admin, "sys/audit", `{"a":"canary"}`, secret.ErrInvalid, ""},
		"nothing at all": {env.Admin, "a/b", ``, secret.ErrInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := lastAudit(t, env).ID
			_, err := env.Engine.Patch(t.Context(), test.caller, patchOf(t, test.path, test.patch))
			wantError(t, err, test.want)
			if strings.Contains(fmt.Sprint(err), "canary") {
				t.Errorf("the error has a value: %v", err)
			}
			entry := lastAudit(t, env)
			if entry.ID == before {
				entry = audit.Entry{}
			}
			if entry.Decision != test.audited || test.audited != "" && (entry.Action != audit.Patch || entry.Path != test.path) {
				t.Errorf("audit: %+v", entry)
			}
		})
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), `{"a":"canary"}`)
}

// TestPatchesOfOneTimeAllTakeEffect, on two replicas, though none expects a version.
func TestPatchesOfOneTimeAllTakeEffect(t *testing.T) {
	env := vaulttest.Start(t)
	replicas := []*vault.Engine{env.Engine, env.Open(t)}
	env.Put(t, "a/b", `{"kept":"yes"}`)
	const writers, each = 6, 5
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				if _, err := replicas[w%2].Patch(t.Context(), env.Admin, patchOf(t, "a/b", fmt.Sprintf(`{"w%d-%d":"set"}`, w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	value, err := read(t, env.Engine, env.Admin, ref(t, "a/b", 0))
	if err != nil {
		t.Fatal(err)
	}
	var properties map[string]string
	if err := json.Unmarshal([]byte(value), &properties); err != nil {
		t.Fatal(err)
	}
	if len(properties) != 1+writers*each || properties["kept"] != "yes" {
		t.Errorf("%d properties, want %d", len(properties), 1+writers*each)
	}
}

// TestARepeatedPatchTakesEffectOnce: also when another one came between.
func TestARepeatedPatchTakesEffectOnce(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", `{"a":"1"}`)
	request := patchOf(t, "a/b", `{"a":"2"}`)
	request.IdempotencyKey = "key-1"
	first, err := env.Engine.Patch(t.Context(), env.Admin, request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Engine.Patch(t.Context(), env.Admin, patchOf(t, "a/b", `{"a":"3"}`)); err != nil {
		t.Fatal(err)
	}
	again, err := env.Engine.Patch(t.Context(), env.Admin, request)
	if err != nil || again.Version != first.Version {
		t.Errorf("again: version %d, %v", again.Version, err)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), `{"a":"3"}`)
	other := patchOf(t, "a/b", `{"a":"4"}`)
	other.IdempotencyKey = "key-1"
	_, err = env.Engine.Patch(t.Context(), env.Admin, other)
	wantError(t, err, secret.ErrKeyReused)
}

// TestAPatchOutlivesAKeyRotation: the current value opens after its key was wrapped anew.
func TestAPatchOutlivesAKeyRotation(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", `{"a":"1","b":"1"}`)
	other := env.Open(t)
	former := primary(t, env)
	rotate(t, env.Engine, env.Admin)
	rewrapAll(t, env.Engine, env.Admin)
	destroy(t, env.Engine, env.Admin, former)
	if _, err := other.Patch(t.Context(), env.Admin, patchOf(t, "a/b", `{"a":"2"}`)); err != nil {
		t.Fatal(err)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), `{"a":"2","b":"1"}`)
}
