package vaulttest

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Path parses a path or fails the test.
func Path(t testing.TB, s string) secret.Path {
	t.Helper()
	path, err := secret.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Put writes value at path as Env.Admin and returns what was written.
func (e *Env) Put(t testing.TB, path, value string) secret.Metadata {
	t.Helper()
	return e.PutShared(t, path, value, nil)
}

// PutShared is Put with an access policy on the secret.
func (e *Env) PutShared(t testing.TB, path, value string, access *secret.AccessPolicy) secret.Metadata {
	t.Helper()
	m, err := e.Engine.Put(t.Context(), e.Admin, secret.PutRequest{Path: Path(t, path), Value: Value(t, value), Access: access})
	if err != nil {
		t.Fatalf("put %s: %v", path, err)
	}
	return m
}

// Value makes a value or fails the test.
func Value(t testing.TB, s string) secret.Value {
	t.Helper()
	v, err := secret.NewValue([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ServiceAccount is a caller of cluster "default" with a made-up UID.
func ServiceAccount(namespace, name, environment string) secret.Caller {
	return secret.Caller{
		Kind: secret.KindServiceAccount, Cluster: "default", Namespace: namespace, Name: name,
		UID: "uid-of-" + namespace + "-" + name, Environment: environment, Address: "127.0.0.1",
	}
}
