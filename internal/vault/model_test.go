package vault_test

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// modelPath is what a path should be.
type modelPath struct {
	versions    map[int64]string // since it was last made
	last        int64
	live        bool
	description string
}

func (m *modelPath) write(value string) int64 {
	if !m.live {
		m.versions, m.live, m.description = map[int64]string{}, true, ""
	}
	m.last++
	m.versions[m.last] = value
	return m.last
}

// model runs operations on two replicas and on a map, and compares.
type model struct {
	*vaulttest.Env
	t        *testing.T
	prefix   string // paths of this run
	replicas []*vault.Engine
	paths    map[string]*modelPath
	values   int
}

func (m *model) draw(t *rapid.T) (*vault.Engine, secret.Path, *modelPath) {
	name := m.prefix + rapid.SampledFrom([]string{"a", "b", "a/b"}).Draw(t, "path")
	if m.paths[name] == nil {
		m.paths[name] = &modelPath{}
	}
	return rapid.SampledFrom(m.replicas).Draw(t, "replica"), vaulttest.Path(m.t, name), m.paths[name]
}

func (m *model) request(path secret.Path) (secret.PutRequest, string) {
	m.values++
	value := fmt.Sprintf("value %d", m.values)
	return secret.PutRequest{Path: path, Value: vaulttest.Value(m.t, value)}, value
}

func (m *model) put(t *rapid.T) {
	engine, path, want := m.draw(t)
	req, value := m.request(path)
	var expected int64
	if want.live {
		expected = want.last
	}
	if rapid.Bool().Draw(t, "compare and set") {
		req.ExpectedVersion = new(expected + rapid.Int64Range(0, 1).Draw(t, "off by"))
	}
	if rapid.Bool().Draw(t, "describe") {
		req.Description = &value
	}
	got, err := engine.Put(m.t.Context(), m.Admin, req)
	if req.ExpectedVersion != nil && *req.ExpectedVersion != expected {
		if !errors.Is(err, secret.ErrConflict) {
			t.Fatalf("put that expects version %d of %d: %v", *req.ExpectedVersion, expected, err)
		}
		return
	}
	version := want.write(value)
	if req.Description != nil {
		want.description = value
	}
	if err != nil || got.Version != version || got.Description != want.description {
		t.Fatalf("put: %+v, %v; want version %d, %q", got, err, version, want.description)
	}
}

func (m *model) rotate(t *rapid.T) {
	engine, path, want := m.draw(t)
	req, value := m.request(path)
	got, err := engine.Rotate(m.t.Context(), m.Admin, req)
	if !want.live {
		if !errors.Is(err, secret.ErrDenied) {
			t.Fatalf("rotate of a path that is not there: %v", err)
		}
		return
	}
	if version := want.write(value); err != nil || got.Version != version {
		t.Fatalf("rotate: %+v, %v; want version %d", got, err, version)
	}
}

func (m *model) remove(t *rapid.T) {
	engine, path, want := m.draw(t)
	err := engine.Delete(m.t.Context(), m.Admin, path)
	if want.live != (err == nil) || err != nil && !errors.Is(err, secret.ErrDenied) {
		t.Fatalf("delete of a path that is there (%v): %v", want.live, err)
	}
	if want.live {
		want.last++ // the deletion has a number too
	}
	want.live = false
}

func (m *model) read(t *rapid.T) {
	engine, path, want := m.draw(t)
	version := rapid.Int64Range(0, want.last+1).Draw(t, "version")
	got, err := engine.Read(m.t.Context(), m.Admin, secret.Ref{Path: path, Version: version})
	if !want.live {
		if !errors.Is(err, secret.ErrDenied) {
			t.Fatalf("read of a path that is not there: %v", err)
		}
		return
	}
	resolved := version
	if version == 0 {
		resolved = want.last
	}
	value, exists := want.versions[resolved]
	switch {
	case !exists && !errors.Is(err, secret.ErrVersionNotFound):
		t.Fatalf("read of version %d that is not there: %v", version, err)
	case exists && (err != nil || got.Version != resolved || string(got.Value.Bytes()) != value || got.Description != want.description):
		t.Fatalf("read: version %d, %q, %v; want version %d, %q", got.Version, got.Value.Bytes(), err, resolved, value)
	}
}

func (m *model) list(t *rapid.T) {
	prefix, err := secret.ParsePrefix(m.prefix)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := m.replicas[0].List(m.t.Context(), m.Admin, prefix, secret.Path{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	live := 0
	for _, want := range m.paths {
		if want.live {
			live++
		}
	}
	for _, got := range listed {
		if want := m.paths[got.Path.String()]; want == nil || !want.live || want.last != got.Version {
			t.Fatalf("listed %+v, which should be %+v", got, want)
		}
	}
	if len(listed) != live {
		t.Fatalf("%d paths are listed, want %d", len(listed), live)
	}
}

// TestEngineIsAMap: whatever the order of operations and whichever replica does
// them, the vault is a map from paths to numbered values.
func TestEngineIsAMap(t *testing.T) {
	env := vaulttest.Start(t)
	replicas := []*vault.Engine{env.Engine, env.Open(t)}
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		m := &model{Env: env, t: t, prefix: fmt.Sprintf("run%d/", runs), replicas: replicas, paths: map[string]*modelPath{}}
		rt.Repeat(map[string]func(*rapid.T){
			"put": m.put, "rotate": m.rotate, "delete": m.remove, "read": m.read, "list": m.list,
		})
	})
}
