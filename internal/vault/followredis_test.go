package vault_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// found is how long a change may take that nothing announced: a poll, a read that
// Postgres answers at once, and a loaded machine.
const found = 12 * time.Second

// redisFault is one thing that goes wrong with Redis.
type redisFault struct {
	strike func(*testing.T, *redis.Client)
	// mend is nil when nothing has to be mended.
	mend func(*testing.T, *redis.Client)
}

// command is a fault or its end that is a command of Redis.
func command(args ...any) func(*testing.T, *redis.Client) {
	return func(t *testing.T, client *redis.Client) {
		t.Helper()
		if err := client.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFollowThroughFaultsOfRedis: whatever becomes of Redis, or is written there, each
// change is delivered within a poll, a writer waits for nothing, and once Redis is well
// a change arrives at once again.
func TestFollowThroughFaultsOfRedis(t *testing.T) {
	t.Parallel() // it mostly waits
	for name, fault := range map[string]redisFault{
		"emptied":           {strike: command("FLUSHALL")},
		"trimmed":           {strike: command("XTRIM", changes.Stream, "MAXLEN", 0)},
		"deleted":           {strike: command("DEL", changes.Stream)},
		"older":             {strike: olderStream},
		"forged":            {strike: forgedMessages},
		"doubled":           {strike: doubledMessages},
		"of another type":   {strike: command("SET", changes.Stream, "x"), mend: command("DEL", changes.Stream)},
		"at the highest id": {strike: highestID, mend: command("DEL", changes.Stream)},
		"out of memory":     {strike: command("CONFIG", "SET", "maxmemory", "1"), mend: command("CONFIG", "SET", "maxmemory", "0")},
		"read only":         {strike: command("REPLICAOF", "127.0.0.1", "1"), mend: command("REPLICAOF", "NO", "ONE")},
		"not answering":     {strike: command("CLIENT", "PAUSE", "15000", "ALL")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := vaulttest.Start(t)
			client := redisClient(t, env)
			f, quick := followed(t, env)
			settles(t, "quick delivery before", quick)
			fault.strike(t, client)
			wantFound(t, env, f, "struck")
			if f.has("rotate forged/path 9") || f.has("put forged/path 9") {
				t.Error("a forged message was believed")
			}
			if fault.mend != nil {
				fault.mend(t, client)
			}
			wantFound(t, env, f, "mended")
			settles(t, "quick delivery after", quick)
		})
	}
}

// followed follows on another replica than that which writes; quick is nil when a
// change arrives much sooner than a poll would find it.
func followed(t *testing.T, env *vaulttest.Env) (f *feed, quick func() error) {
	t.Helper()
	f = follow(t, env, env.Open(t), nil)
	return f, func() error {
		m := env.Put(t, "quick/one", "v")
		if took := f.want(t, fmt.Sprintf("put quick/one %d", m.Version)); took > time.Second {
			return fmt.Errorf("the change took %v", took)
		}
		return nil
	}
}

// wantFound writes ten changes without waiting for Redis, and has them delivered.
func wantFound(t *testing.T, env *vaulttest.Env, f *feed, path string) {
	t.Helper()
	const writes = 10
	begin := time.Now()
	for range writes {
		env.Put(t, path+"/one", "v")
	}
	if took := time.Since(begin); took > 10*time.Second { // a Redis that was waited for would cost each write seconds
		t.Errorf("%d writes took %v", writes, took)
	}
	for i := range writes {
		f.want(t, fmt.Sprintf("put %s/one %d", path, i+1))
	}
	if took := time.Since(begin); took > 10*time.Second+found {
		t.Errorf("the changes took %v", took)
	}
}

// olderStream puts an earlier state of the stream back, as a replica has it that lacks
// the newest entries.
func olderStream(t *testing.T, client *redis.Client) {
	t.Helper()
	dump, err := client.Dump(t.Context(), changes.Stream).Result()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // which the follower hears of
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: changes.Stream, Values: []any{"kind", "put"}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.RestoreReplace(t.Context(), changes.Stream, 0, dump).Err(); err != nil {
		t.Fatal(err)
	}
}

// forgedMessages are of somebody who may write to Redis.
func forgedMessages(t *testing.T, client *redis.Client) {
	t.Helper()
	for _, values := range [][]any{
		{"kind", "rotate", "path", "forged/path", "version", "9"},
		{"kind", "put", "path", "forged/path", "version", "-9223372036854775808"},
		{"kind", "", "path", "../../etc", "version", "NaN"},
		{"\x00\xff", strings.Repeat("\xfe", 100_000)},
		{"path", "a", "path", "b"},
	} {
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: changes.Stream, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, payload := range []string{`{"path":"forged/path","version":9}`, `{`, "", "\xff\x00", strings.Repeat("[", 100_000)} {
		if err := client.Publish(t.Context(), changes.Channel, payload).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// doubledMessages repeats all that was announced, backwards.
func doubledMessages(t *testing.T, client *redis.Client) {
	t.Helper()
	entries, err := client.XRevRange(t.Context(), changes.Stream, "+", "-").Result()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		for _, entry := range entries {
			if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: changes.Stream, Values: entry.Values}).Err(); err != nil {
				t.Fatal(err)
			}
			if err := client.Publish(t.Context(), changes.Channel, `{"path":"quick/one","version":1}`).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// highestID leaves no id for the next entry.
func highestID(t *testing.T, client *redis.Client) {
	t.Helper()
	err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: changes.Stream, ID: "18446744073709551615-18446744073709551615", Values: []any{"a", "b"}}).Err()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFollowThroughARedisPartition: connections stand, and no byte passes; for the
// writer's, the follower's or both.
func TestFollowThroughARedisPartition(t *testing.T) {
	t.Parallel() // it mostly waits
	env := vaulttest.Start(t)
	writers, throughWriters := testkit.Proxy(t, env.RedisURL)
	followers, throughFollowers := testkit.Proxy(t, env.RedisURL)
	direct := env.RedisURL
	env.RedisURL = throughWriters
	env.Engine = env.Open(t)
	env.RedisURL = throughFollowers
	f, quick := followed(t, env)
	env.RedisURL = direct
	settles(t, "quick delivery before", quick)
	for name, cut := range map[string]func(){
		"writer": writers.Silence, "follower": followers.Silence, "both": func() { writers.Silence(); followers.Silence() },
	} {
		cut()
		wantFound(t, env, f, "cut-"+name)
		writers.Heal()
		followers.Heal()
		settles(t, "quick delivery after the partition of "+name, quick)
	}
}

// TestFollowThroughARedisFailover: the master dies, and the replica that is promoted
// lacks what was written last.
func TestFollowThroughARedisFailover(t *testing.T) {
	t.Parallel() // it mostly waits
	s := testkit.RedisSentinel(t)
	env := vaulttest.StartWith(t, vaulttest.Config{RedisURL: s.URL()})
	f, quick := followed(t, env)
	settles(t, "quick delivery before", quick)
	replica := redisClient(t, &vaulttest.Env{RedisURL: s.Replica.URL()})
	for range 10 {
		env.Put(t, "lost/one", "v")
	}
	if err := s.Master.Kill(); err != nil {
		t.Fatal(err)
	}
	settles(t, "the replica takes writes", func() error { // and has an older state, as one that lagged
		return replica.Do(t.Context(), "XTRIM", changes.Stream, "MAXLEN", 1).Err()
	})
	for _, args := range [][]any{{"DEL", changes.Stream}, {"XADD", changes.Stream, "1-1", "kind", "put"}} {
		if err := replica.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	f.want(t, "put lost/one 10")
	wantFound(t, env, f, "failing-over")
	settles(t, "quick delivery on the promoted replica", quick)
	wantFound(t, env, f, "failed-over")
}
