package vault_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestNoPlaintextAtRest puts a canary through every operation and looks for it in
// every column, every Redis key and value, every error and the log.
func TestNoPlaintextAtRest(t *testing.T) {
	const canary = "canary-7f3a-Zq+/9 plaintext of a secret"
	env := vaulttest.Start(t)
	var log testkit.Output // the engine goes on to write
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
		DatabaseURL: env.DSN, RedisURL: env.RedisURL, Root: env.Root,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeEngine)
	ctx, path := t.Context(), vaulttest.Path(t, "a/b")
	request := secret.PutRequest{Path: path, Value: vaulttest.Value(t, canary), RotateAfterDays: new(1)}
	var outputs []string
	note := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				outputs = append(outputs, err.Error())
			}
		}
	}
	_, putErr := engine.Put(ctx, env.Admin, request)
	_, rotateErr := engine.Rotate(ctx, env.Admin, request)
	_, deniedErr := engine.Put(ctx, vaulttest.ServiceAccount("x", "y", ""), request)
	conflicting := request
	conflicting.ExpectedVersion = new(int64(7))
	_, conflictErr := engine.Put(ctx, env.Admin, conflicting)
	_, patchErr := engine.Patch(ctx, env.Admin, secret.PatchRequest{Path: path, Patch: vaulttest.Value(t, `{"a":"`+canary+`"}`)})
	wantError(t, patchErr, secret.ErrInvalid) // the value is raw
	properties := request
	properties.Path, properties.Value = vaulttest.Path(t, "a/properties"), vaulttest.Value(t, `{"a":"`+canary+`"}`)
	_, propertiesErr := engine.Put(ctx, env.Admin, properties)
	_, patchedErr := engine.Patch(ctx, env.Admin, secret.PatchRequest{Path: properties.Path, Patch: vaulttest.Value(t, `{"b":"`+canary+`"}`)})
	note(putErr, rotateErr, deniedErr, conflictErr, patchErr)
	if propertiesErr != nil || patchedErr != nil {
		t.Fatalf("put properties: %v; patch them: %v", propertiesErr, patchedErr)
	}
	for range 2 {
		wantRead(t, engine, env.Admin, ref(t, "a/b", 0), canary)
	}
	exec(t, env, `UPDATE secret_versions SET box = '\x01' WHERE version = 1`)
	_, tamperedErr := read(t, engine, env.Admin, ref(t, "a/b", 1))
	wantError(t, tamperedErr, secret.ErrTampered)
	note(tamperedErr)
	if putErr != nil || rotateErr != nil || deniedErr == nil || conflictErr == nil {
		t.Fatalf("the operations did not go as planned: %v", outputs)
	}

	if leaks := env.Leaks(t, canary); len(leaks) != 0 {
		t.Errorf("plaintext in %v", leaks)
	}
	if text := strings.Join(outputs, "\n") + log.String(); strings.Contains(text, "canary") {
		t.Errorf("plaintext in an error or the log:\n%s", text)
	}
}

// TestLeaksFinds shows that the search would find what it looks for.
func TestLeaksFinds(t *testing.T) {
	const canary = "canary to be found"
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "v")
	for name, sql := range map[string]string{
		"text":           `UPDATE secrets SET description = 'say ` + canary + `.'`,
		"bytes":          `UPDATE secrets SET mac = convert_to('xx` + canary + `yy', 'UTF8')`,
		"hex":            `UPDATE secrets SET description = encode(convert_to('` + canary + `', 'UTF8'), 'hex')`,
		"base64":         `UPDATE secrets SET description = encode(convert_to('` + canary + `', 'UTF8'), 'base64')`,
		"base64 shifted": `UPDATE secrets SET description = encode(convert_to('{"a":"` + canary + `"}', 'UTF8'), 'base64')`,
		"json":           `UPDATE secrets SET tags = '{"` + canary + `":"x"}'`,
	} {
		exec(t, env, sql)
		if len(env.Leaks(t, canary)) == 0 {
			t.Errorf("not found in %s", name)
		}
		exec(t, env, `UPDATE secrets SET description = '', tags = '{}', mac = ''`)
	}
	if leaks := env.Leaks(t, canary); len(leaks) != 0 {
		t.Errorf("found where there is none: %v", leaks)
	}
	redisClient(t, env).Set(t.Context(), "k", canary, 0)
	if len(env.Leaks(t, canary)) == 0 {
		t.Error("not found in Redis")
	}
}
