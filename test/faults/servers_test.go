//go:build failpoints

package faults

import (
	"strings"
	"testing"
)

// times is how often a server comes to harm, on one vault that one process uses all the while.
const times = 3

// serverFault is something that happens to a server.
type serverFault struct {
	name string
	// start makes the servers.
	start func(*testing.T) *site
	// strike makes the fault happen, waits until the process has felt it, and ends it. It fails the test when the
	// fault cannot be made to happen, or is not felt.
	strike func(*testing.T, *site)
	// harmless: no operation may fail, neither meanwhile nor after.
	harmless bool
}

// Those that take longest come first.
var serverFaults = []serverFault{
	{name: "postgres/half-open", start: postgresSite, strike: strandPostgres},
	{name: "postgres/partitioned", start: postgresSite, strike: partitionPostgres},
	{name: "postgres/killed", start: postgresSite, strike: killPostgres},
	{name: "postgres/stopped", start: postgresSite, strike: stopPostgres},
	{name: "postgres/slow", start: postgresSite, strike: slowPostgres, harmless: true},
	{name: "postgres/commit-of-write-lost", start: postgresSite, strike: loseCommitOfWrite},
	{name: "postgres/commit-of-audit-lost", start: postgresSite, strike: loseCommitOfAudit},
	{name: "postgres/disk-full", start: smallDiskSite, strike: fillDisk},
	{name: "postgres/disk-full-for-wal", start: smallDiskSite, strike: fillDiskForWAL},
	{name: "postgres/failed-over", start: replicatedSite, strike: failOver},
	{name: "redis/down", start: redisSite, strike: stopRedis, harmless: true},
	{name: "redis/flushed", start: redisSite, strike: flushRedis, harmless: true},
	{name: "redis/half-open", start: redisSite, strike: strandRedis, harmless: true},
	{name: "redis/partitioned", start: redisSite, strike: partitionRedis, harmless: true},
	{name: "redis/restarted-empty", start: redisSite, strike: restartRedisEmpty, harmless: true},
	{name: "redis/restarted-older", start: redisSite, strike: restartRedisOlder, harmless: true},
}

// TestServers takes the servers away from a process that goes on. It fails for a fault that is not felt.
func TestServers(t *testing.T) {
	for _, f := range serverFaults {
		if !asked().MatchString(f.name) {
			continue
		}
		row := results.begin(strings.Replace(f.name, "/", ": ", 1))
		t.Run(f.name, func(t *testing.T) {
			t.Parallel() // they wait for timeouts, mostly
			defer results.end(t, row, f.name)
			strikeAll(t, row, f)
		})
	}
}

func strikeAll(t *testing.T, row *result, f serverFault) {
	s := f.start(t)
	s.startLoad(t, seed(t)*100)
	s.await(t, "work before the fault", s.mark(t), everyClient(answered, 1))
	for n := range times {
		struck := s.mark(t)
		f.strike(t, s)
		row.injected++
		late := s.converge(t)
		if f.harmless {
			late = append(late, failures(s.since(t, struck))...)
		}
		s.ask(t, pauseLoad)
		s.settle(t)
		row.hold(t, "I5", append(late, s.unheard(t)...))
		s.check(t, row, s.run+uint64(n)+1)
		if t.Failed() {
			return
		}
		s.ask(t, goOnLoad)
	}
	s.endLoad(t)
}
