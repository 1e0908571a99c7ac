// Command bench measures the engine against floors and prints a line a figure:
//
//	name  ours  floor  ratio  goal
//
// What the figures are and their goals is in docs/design/performance.md. Ours and the
// floor run in turns, round by round, in one process and on one machine, and the
// medians of the rounds are compared: absolute figures are noise. It starts a Postgres
// of its own, with fsync on, and a Redis; for the operator another of each, a
// kube-apiserver, and itself as the manager.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// plan is how long to measure.
type plan struct {
	rounds int
	round  time.Duration
}

// figure is a line of the table. measure returns what ours and the floor did in one
// round, in unit.
type figure struct {
	name, unit, goal string
	measure          func(context.Context, time.Duration) (ours, floor float64, err error)
}

func main() {
	var p plan
	flag.IntVar(&p.rounds, "rounds", 5, "rounds of each figure; medians are printed")
	flag.DurationVar(&p.round, "round", 2*time.Second, "length of one measurement")
	objects := flag.Int("objects", 2000, "how many VaultSecrets the operator's figures are about, such as 2000 or 10000")
	only := flag.String("only", "", "measure only the figures whose name contains this")
	profiles := flag.String("profile", "", "directory for profiles: of reads and writes, of this process and of Postgres' statements, and of the manager")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := errObjects
	switch {
	case flag.NArg() > 0:
		err = asChild(ctx, flag.Args())
	case *objects >= leastObjects:
		err = run(ctx, p, *only, *profiles, *objects, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// leastObjects is the number from which on each of the operator's figures has some.
const leastObjects = 20

var errObjects = fmt.Errorf("-objects is at least %d", leastObjects)

func run(ctx context.Context, p plan, only, profiles string, objects int, out io.Writer) (err error) {
	e, err := newEnvironment(ctx, profiles)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	figures := []figure{e.reads(), e.readTime(), e.writes(), e.writeTime(), e.sealing(), e.sealAllocations(), e.rewrap()}
	figures = append(figures, e.neighbours()...)
	figures = append(figures, e.statements()...)
	figures = append(figures, e.newOperatorBench(objects, p.rounds).figures()...)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "name\tours\tfloor\tratio\tgoal")
	for _, f := range figures {
		if !strings.Contains(f.name, only) {
			continue
		}
		line, err := f.line(ctx, p)
		if err != nil { // what was measured before is worth having
			return errors.Join(table.Flush(), fmt.Errorf("%s: %w", f.name, err))
		}
		fmt.Fprintln(table, line)
	}
	return table.Flush()
}

// line measures f round by round, the one first now and the other then.
func (f figure) line(ctx context.Context, p plan) (string, error) {
	var ours, floors, ratios []float64
	for range p.rounds {
		a, b, err := f.measure(ctx, p.round)
		if err != nil {
			return "", err
		}
		ours, floors = append(ours, a), append(floors, b)
		if b != 0 {
			ratios = append(ratios, a/b)
		}
	}
	ratio := "-"
	if len(ratios) > 0 {
		ratio = fmt.Sprintf("%.2f", median(ratios))
	}
	return fmt.Sprintf("%s\t%.5g %s\t%.5g %s\t%s\t%s", f.name, median(ours), f.unit, median(floors), f.unit, ratio, f.goal), nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
