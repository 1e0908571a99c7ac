package vault_test

import (
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// overtaken is a replica that, once, has read the head of a path when meanwhile happens,
// and then goes on: an engine asks for the time when it judges what it has read.
func overtaken(t *testing.T, env *vaulttest.Env, meanwhile func()) *vault.Engine {
	t.Helper()
	var once sync.Once
	engine, _ := newEngine(t, env, vault.Config{Clock: func() time.Time {
		once.Do(meanwhile)
		return time.Now()
	}})
	return engine
}

// TestReadOfAVersionThatIsPrunedMeanwhile: the path has a current version at every
// moment, so that is what a read without a version gets.
func TestReadOfAVersionThatIsPrunedMeanwhile(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	p := vaulttest.Path(t, "a/b")
	put := func(value string) {
		t.Helper()
		_, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: p, Value: vaulttest.Value(t, value), MaxVersions: new(1)})
		must(t, err)
	}
	put("one")
	replica := overtaken(t, env, func() { put("two"); put("three") }) // the first is destroyed
	wantRead(t, replica, env.Admin, ref(t, "a/b", 0), "three")

	replica = overtaken(t, env, func() { put("four"); put("five") })
	_, err := read(t, replica, env.Admin, ref(t, "a/b", 3))
	wantError(t, err, secret.ErrVersionDestroyed)

	replica = overtaken(t, env, func() { must(t, env.Engine.Destroy(t.Context(), env.Admin, p)) })
	_, err = read(t, replica, env.Admin, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
}

// TestVersionsAreOfOneMoment: a destroyed version has no label, in no list.
func TestVersionsAreOfOneMoment(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	p := vaulttest.Path(t, "a/b")
	env.Put(t, "a/b", "one")
	env.Put(t, "a/b", "two")
	replica := overtaken(t, env, func() { must(t, env.Engine.DestroyVersions(t.Context(), env.Admin, p, 1)) })
	versions, err := replica.Versions(t.Context(), env.Admin, p)
	if err != nil || len(versions) != 2 || versions[1].State != secret.Destroyed || len(versions[1].Labels) != 0 {
		t.Errorf("versions %+v, %v", versions, err)
	}
}
