//go:build failpoints

package faults

import (
	"errors"
	"strconv"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit"
)

// newSite is a vault on a database, with a Redis of its own behind a proxy.
func newSite(t *testing.T, dsn string) *site {
	t.Helper()
	server := testkit.RedisServer(t)
	s := &site{victim: newVictim(t, dsn, server.URL()), redisServer: server}
	var through string
	s.cache, through = testkit.Proxy(t, server.URL())
	s.environment = []string{workerRedis + "=" + through}
	return s
}

// redisSite is on the Postgres that tests share.
func redisSite(t *testing.T) *site {
	t.Helper()
	return newSite(t, testkit.Postgres(t))
}

// redisClient leads straight to Redis. Close it.
func (s *site) redisClient(t *testing.T) *goredis.Client {
	t.Helper()
	options, err := goredis.ParseURL(s.redis)
	if err != nil {
		t.Fatal(err)
	}
	return goredis.NewClient(options)
}

// enough is how much each client does, at least, while Redis is away.
const enough = 10

// awaitUnannounced waits until changes could not be announced, and the clients worked on.
func (s *site) awaitUnannounced(t *testing.T, since, before int64) {
	t.Helper()
	s.until(t, "Redis to be missed", feltWithin, func() error {
		if now := s.unannounced(t); now <= before {
			return errors.New("every change is announced")
		}
		return nil
	})
	s.await(t, "work without Redis", since, everyClient(answered, enough))
}

func (s *site) unannounced(t *testing.T) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s.ask(t, countUnannounced), 10, 64)
	must(t, err)
	return n
}

// stopRedis is a crash, and a start some time later, with nothing.
func stopRedis(t *testing.T, s *site) {
	since, before := s.mark(t), s.unannounced(t)
	must(t, s.redisServer.Kill())
	s.awaitUnannounced(t, since, before)
	must(t, s.redisServer.Restart(t.Context()))
}

// flushRedis loses everything at one moment.
func flushRedis(t *testing.T, s *site) {
	client := s.redisClient(t)
	defer client.Close()
	since := s.mark(t)
	pipe := client.TxPipeline()
	before, _, after := pipe.DBSize(t.Context()), pipe.FlushAll(t.Context()), pipe.DBSize(t.Context())
	if _, err := pipe.Exec(t.Context()); err != nil || before.Val() == 0 || after.Val() != 0 {
		t.Fatalf("Redis had %d keys, and has %d: %v", before.Val(), after.Val(), err)
	}
	s.await(t, "work after the flush", since, everyClient(answered, enough))
}

// strandRedis has the connections forgotten by a device between.
func strandRedis(t *testing.T, s *site) {
	since, before := s.mark(t), s.unannounced(t)
	s.cache.Strand()
	s.awaitUnannounced(t, since, before)
}

// partitionRedis lets nothing through for a while.
func partitionRedis(t *testing.T, s *site) {
	since, before := s.mark(t), s.unannounced(t)
	s.cache.Silence()
	s.awaitUnannounced(t, since, before)
	s.cache.Heal()
}

// kept and gone are keys by which is seen what a restart left.
const (
	keptKey = "faults:kept"
	goneKey = "faults:gone"
)

// restartRedisEmpty is a crash and a start at once, with nothing.
func restartRedisEmpty(t *testing.T, s *site) {
	since := s.mark(t)
	s.redisDo(t, "SET", goneKey, "1")
	must(t, s.redisServer.Kill())
	must(t, s.redisServer.Restart(t.Context()))
	s.demandKeys(t, 0, 0)
	s.await(t, "work after the restart", since, everyClient(answered, enough))
}

// restartRedisOlder is a crash and a start at once, with what there was some time before, as a replica has it that is
// promoted and was behind.
func restartRedisOlder(t *testing.T, s *site) {
	s.redisDo(t, "SET", keptKey, "1")
	s.redisDo(t, "SAVE")
	s.redisDo(t, "SET", goneKey, "1")
	saved := s.lastAnnounced(t)
	since := s.mark(t)
	s.until(t, "changes after the state that comes back", feltWithin, func() error {
		if s.lastAnnounced(t) == saved {
			return errors.New("there is none")
		}
		return nil
	})
	must(t, s.redisServer.Kill())
	must(t, s.redisServer.Restart(t.Context()))
	s.demandKeys(t, 1, 0)
	s.await(t, "work after the restart", since, everyClient(answered, enough))
}

func (s *site) redisDo(t *testing.T, args ...any) int64 {
	t.Helper()
	client := s.redisClient(t)
	defer client.Close()
	answer, err := client.Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	n, _ := answer.(int64)
	return n
}

// demandKeys fails unless Redis has kept what it should and lost what it should.
func (s *site) demandKeys(t *testing.T, kept, gone int64) {
	t.Helper()
	if have := [2]int64{s.redisDo(t, "EXISTS", keptKey), s.redisDo(t, "EXISTS", goneKey)}; have != [2]int64{kept, gone} {
		t.Fatalf("of what was saved and what was not, Redis has %v after the restart, want %v", have, [2]int64{kept, gone})
	}
}
