package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// spent is processor time. On a machine that others use too it says more than rates do.
type spent struct {
	program  time.Duration // this process, which is client and server, and programs it ran to their end
	postgres time.Duration // the Postgres server and its backends
}

func (s spent) all() time.Duration { return s.program + s.postgres }

func (s spent) since(before spent) spent {
	return spent{s.program - before.program, s.postgres - before.postgres}
}

func (s spent) each(n int) spent {
	n = max(1, n)
	return spent{s.program / time.Duration(n), s.postgres / time.Duration(n)}
}

func (e *environment) processorTime() (s spent, err error) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			return spent{}, fmt.Errorf("read the processor time: %w", err)
		}
		s.program += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	s.postgres, err = e.databaseTime()
	return s, err
}

// databaseTime is what Postgres spent.
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
