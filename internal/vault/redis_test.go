package vault_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func redisClient(t testing.TB, env *vaulttest.Env) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(env.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestEverythingWorksWithoutRedis(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *vaulttest.Env{
		"never there": func(t *testing.T) *vaulttest.Env { return vaulttest.StartWith(t, vaulttest.Config{NoRedis: true}) },
		"killed": func(t *testing.T) *vaulttest.Env {
			server := testkit.RedisServer(t)
			env := vaulttest.StartWith(t, vaulttest.Config{RedisURL: server.URL()})
			env.Put(t, "warm/up", "v")
			wantRead(t, env.Engine, env.Admin, ref(t, "warm/up", 0), "v")
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			return env
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := start(t)
			begin := time.Now()
			const rounds = 20
			for range rounds {
				env.Put(t, "a/b", "v")
				wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
			}
			if took := time.Since(begin); took > rounds*200*time.Millisecond {
				t.Errorf("%d writes and reads took %v", rounds, took)
			}
		})
	}
}

// TestFrozenRedisDelaysLittle stops Redis from answering while connections stand.
func TestFrozenRedisDelaysLittle(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "v")
	if err := redisClient(t, env).Do(t.Context(), "CLIENT", "PAUSE", "60000", "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	const rounds = 50
	for range rounds {
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	}
	// One read in a second may wait for the cache's timeout, the others ask nothing.
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("%d reads took %v", rounds, took)
	}
}

func TestCacheHoldsSealedBytesUnderKeyedNames(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "v")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	keys, err := redisClient(t, env).Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	cached := 0
	for _, key := range keys {
		if strings.HasPrefix(key, "coffer:sealed:") {
			cached++
		} else if key != changes.Stream {
			t.Errorf("unexpected key %q", key)
		}
		if strings.Contains(key, "a/b") {
			t.Errorf("key %q names the path", key)
		}
	}
	if cached != 1 {
		t.Errorf("%d boxes are cached, want 1", cached)
	}
}

// TestPoisonedCacheIsAMiss: who can write Redis can neither change nor stop a read.
func TestPoisonedCacheIsAMiss(t *testing.T) {
	env := vaulttest.Start(t)
	client := redisClient(t, env)
	env.Put(t, "a/b", "v")
	env.Put(t, "a/c", "other")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/c", 0), "other")
	keys, err := client.Keys(t.Context(), "coffer:sealed:*").Result()
	if err != nil || len(keys) != 2 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	first, second := client.Get(t.Context(), keys[0]).Val(), client.Get(t.Context(), keys[1]).Val()
	for name, poison := range map[string][2]string{
		"swapped": {second, first}, "empty": {"", ""}, "garbage": {"x", strings.Repeat("x", 200)},
		"cut": {first[:len(first)-1], second[:10]},
	} {
		for i, key := range keys {
			if err := client.Set(t.Context(), key, poison[i], 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
		wantRead(t, env.Engine, env.Admin, ref(t, "a/c", 0), "other")
		if got := client.Get(t.Context(), keys[0]).Val(); got != first {
			t.Errorf("%s: the poison was not replaced", name)
		}
	}
	// Another type under the key makes Redis answer with an error.
	client.Del(t.Context(), keys[0])
	client.LPush(t.Context(), keys[0], "x")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/c", 0), "other")
}

// TestAnnouncements: the stream has every change, the channel every new version.
func TestAnnouncements(t *testing.T) {
	env := vaulttest.Start(t)
	client := redisClient(t, env)
	subscription := client.Subscribe(t.Context(), changes.Channel)
	t.Cleanup(func() { _ = subscription.Close() })
	if _, err := subscription.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	env.Put(t, "a/b", "one")
	if _, err := env.Engine.Rotate(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b")}); err != nil {
		t.Fatal(err)
	}
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "a/b")); err != nil {
		t.Fatal(err)
	}
	env.Put(t, "a/c", "v")
	for _, want := range []struct {
		Path    string
		Version int64
	}{{"a/b", 1}, {"a/b", 2}, {"a/c", 1}} {
		select {
		case message := <-subscription.Channel():
			got := want
			got.Path, got.Version = "", 0
			if err := json.Unmarshal([]byte(message.Payload), &got); err != nil || got != want {
				t.Errorf("message %s, %v; want %v", message.Payload, err, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no message")
		}
	}
	entries, err := client.XRange(t.Context(), changes.Stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, entry := range entries {
		kinds = append(kinds, entry.Values["kind"].(string))
	}
	if got := strings.Join(kinds, " "); got != "policy put rotate delete put" {
		t.Errorf("stream: %s", got)
	}
}
