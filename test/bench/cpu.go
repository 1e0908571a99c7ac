package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// processorTime is what this process, which is client and server, the Postgres server and
// its backends, and programs run to the end have used of the processors. On a machine that
// others use too it says more than rates do.
func (e *environment) processorTime() (time.Duration, error) {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			return 0, fmt.Errorf("read the processor time: %w", err)
		}
		total += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	database, err := e.databaseTime()
	return total + database, err
}

// databaseTime is the part of Postgres.
func (e *environment) databaseTime() (time.Duration, error) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return 0, fmt.Errorf("read the processor time of Postgres: %w", err)
	}
	postmaster := e.postgres.PID()
	var total time.Duration
	for _, p := range processes {
		stat, err := p.Stat()
		if err != nil || (p.PID != postmaster && stat.PPID != postmaster) {
			continue // another's, or ended meanwhile
		}
		spent, err := p.Schedstat()
		if err != nil {
			continue
		}
		total += time.Duration(spent.RunningNanoseconds)
		if p.PID == postmaster { // what ended backends used, in ticks of 10 ms
			total += time.Duration(stat.CUTime+stat.CSTime) * 10 * time.Millisecond
		}
	}
	return total, nil
}
