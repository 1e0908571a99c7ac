package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// stage runs f. When profiles are asked for, it leaves there NAME.cpu.pprof, what the
// manager computed meanwhile, NAME.heap.pprof and NAME.metrics.txt, what it held and counted
// at the end, and NAME.apiserver.pprof, and says on standard error how much processor time
// each program used for one of n.
func (b *operatorBench) stage(ctx context.Context, name string, n int, f func() error) error {
	if b.e.profiles == "" {
		return f()
	}
	asked, err := b.plane.requests(ctx)
	if err != nil {
		return err
	}
	server := make(chan error, 1)
	go func() { server <- b.profileServer(ctx, name) }()
	begin, before := time.Now(), processorTimes()
	if err := b.profileManager(b.profileName(name)); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	took, now := time.Since(begin), processorTimes()
	fmt.Fprintf(os.Stderr, "%s: %d in %s, and of a processor for each: %s\n", name, n, took.Round(time.Millisecond), shares(before, now, n))
	answered, err := b.plane.requests(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "  requests for each: %s\n", kinds(asked, answered, n))
	if b.manager != nil && !b.manager.ended() {
		err = b.save(ctx, &b.manager.http, b.manager.metrics, b.profileName(name)+".metrics.txt")
	}
	return errors.Join(err, b.profileManager(""), <-server)
}

func (b *operatorBench) profileName(stage string) string {
	return filepath.Join(b.e.profiles, strings.ReplaceAll(stage, " ", "-"))
}

// serverProfile is how long the API server's profile is, which begins with the stage.
const serverProfile = 5 * time.Second

// profileServer leaves NAME.apiserver.pprof.
func (b *operatorBench) profileServer(ctx context.Context, name string) error {
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%.0f", strings.TrimSuffix(b.plane.server.Config().Host, "/"), serverProfile.Seconds())
	return b.save(ctx, b.plane.http, url, b.profileName(name)+".apiserver.pprof")
}

// save writes what a server answers to a file.
func (b *operatorBench) save(ctx context.Context, client *http.Client, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return errors.Join(err, response.Body.Close())
	}
	_, err = io.Copy(out, response.Body)
	return errors.Join(err, out.Close(), response.Body.Close())
}

// kinds tells the requests about what the operator works on, the most frequent first.
func kinds(before, now map[asked]float64, n int) string {
	type often struct {
		asked
		each float64
	}
	var all []often
	for kind, count := range now {
		if each := (count - before[kind]) / float64(max(1, n)); operated[kind.resource] && each > 0 {
			all = append(all, often{kind, each})
		}
	}
	slices.SortFunc(all, func(a, b often) int { return cmp.Compare(b.each, a.each) })
	parts := make([]string, len(all))
	for i, o := range all {
		parts[i] = fmt.Sprintf("%s %s/%s %.3f", o.verb, o.resource, o.subresource, o.each)
	}
	return strings.Join(parts, ", ")
}

// profileManager has the manager write its profiles to files that begin so, from now on,
// or no more. One that is not there yet does so from its start.
func (b *operatorBench) profileManager(prefix string) error {
	b.profiled = prefix
	if b.manager == nil || b.manager.ended() {
		return nil
	}
	return b.manager.profileTo(prefix)
}

// processorTimes is what each program below this one has used since it started.
func processorTimes() map[string]time.Duration {
	times := map[string]time.Duration{}
	processes, err := procfs.AllProcs()
	if err != nil {
		return times
	}
	parents, stats := map[int]int{}, map[int]procfs.ProcStat{}
	for _, p := range processes {
		if stat, err := p.Stat(); err == nil {
			parents[p.PID], stats[p.PID] = stat.PPID, stat
		}
	}
	for pid, stat := range stats {
		if !isBelow(parents, pid, os.Getpid()) {
			continue
		}
		name := stat.Comm
		if pid == os.Getpid() {
			name = "client"
		}
		times[name] += ticks(stat.UTime + stat.STime)
		if name == "postgres" { // backends that ended
			times[name] += ticks(uint(max(0, stat.CUTime+stat.CSTime)))
		}
	}
	return times
}

func isBelow(parents map[int]int, pid, top int) bool {
	for ; pid > 1; pid = parents[pid] {
		if pid == top {
			return true
		}
	}
	return false
}

func ticks(n uint) time.Duration { return time.Duration(n) * 10 * time.Millisecond }

// shares tells the largest first.
func shares(before, now map[string]time.Duration, n int) string {
	used := map[string]time.Duration{}
	for name, total := range now {
		used[name] = (total - before[name]) / time.Duration(max(1, n))
	}
	names := slices.SortedFunc(maps.Keys(used), func(a, b string) int { return cmp.Compare(used[b], used[a]) })
	parts := make([]string, 0, len(names))
	for _, name := range names {
		if used[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", name, used[name].Round(time.Microsecond)))
		}
	}
	return strings.Join(parts, ", ")
}

// profiler writes profiles of this process to the files that it is told.
type profiler struct {
	prefix string
	out    *os.File
}

// obey reads the beginnings of the names of files, a line each, to which profiles go from
// then on; an empty line ends them. It returns when the input does.
func (p *profiler) obey(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if err := errors.Join(p.end(), p.begin(lines.Text())); err != nil {
			return err
		}
	}
	return errors.Join(lines.Err(), p.end())
}

func (p *profiler) begin(prefix string) (err error) {
	if prefix == "" {
		return nil
	}
	p.prefix = prefix
	if p.out, err = os.Create(prefix + ".cpu.pprof"); err != nil {
		return err
	}
	return pprof.StartCPUProfile(p.out)
}

func (p *profiler) end() error {
	if p.out == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := p.out.Close()
	p.out = nil
	heap, createErr := os.Create(p.prefix + ".heap.pprof")
	if createErr != nil {
		return errors.Join(err, createErr)
	}
	return errors.Join(err, pprof.WriteHeapProfile(heap), heap.Close())
}
