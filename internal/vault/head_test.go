package vault_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestReadsTogetherSeeWhatIsCommitted: among many readers, whose heads are read together,
// a read that begins after a write was acknowledged, or after a change of policies, goes by
// it.
func TestReadsTogetherSeeWhatIsCommitted(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, CacheBytes: 1 << 20})
	reader := vaulttest.ServiceAccount("app", "api", "")
	env.Put(t, "a/b", "v")
	env.Sync(t, reader.Cluster)
	var crowd sync.WaitGroup
	done := make(chan struct{})
	for range 8 {
		crowd.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_, _ = env.Engine.Read(t.Context(), reader, ref(t, "a/b", 0))
					_, _ = env.Engine.Read(t.Context(), env.Admin, ref(t, "a/b", 0))
				}
			}
		})
	}
	defer crowd.Wait()
	defer close(done)
	for i := range 20 {
		value := fmt.Sprintf("value %d", i)
		version := env.Put(t, "a/b", value).Version
		got, err := env.Engine.Read(t.Context(), env.Admin, ref(t, "a/b", 0))
		if err != nil || got.Version != version || string(got.Value.Bytes()) != value {
			t.Fatalf("after version %d was written, version %d was read, error %v", version, got.Version, err)
		}
		allowed := i%2 == 0
		var rules []policy.Policy
		if allowed {
			rules = append(rules, allowReading(t, reader, "a/b"))
		}
		if _, err := env.Engine.ReplacePolicies(t.Context(), reader.Cluster, rules); err != nil {
			t.Fatal(err)
		}
		if _, err := env.Engine.Read(t.Context(), reader, ref(t, "a/b", 0)); (err == nil) != allowed {
			t.Fatalf("after policies that allow it: %t, a read had error %v", allowed, err)
		}
	}
}

func allowReading(t *testing.T, caller secret.Caller, pattern string) policy.Policy {
	t.Helper()
	parsed, err := policy.ParsePattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New("crowd", []policy.Rule{{
		Effect: policy.Allow, Paths: []policy.Pattern{parsed}, Capabilities: []policy.Capability{policy.Read},
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: caller.Namespace, Name: caller.Name}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
