package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
)

// profile runs f. With a directory to write to, it leaves there NAME.pprof, a CPU profile
// of this process, and NAME.sql.txt, what Postgres spent on which statement, and says on
// standard error how the processor time of a request is shared out.
func (e *environment) profile(ctx context.Context, name string, f func() (loaded, error)) (l loaded, err error) {
	if e.profiles == "" {
		return f()
	}
	conn, err := pgx.Connect(ctx, e.dsn)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if _, err := conn.Exec(ctx, `SELECT pg_stat_statements_reset()`); err != nil {
		return l, err
	}
	err = e.processorProfile(name, func() (err error) {
		l, err = f()
		return err
	})
	fmt.Fprintf(os.Stderr, "%s: %d requests, each %s here and %s in Postgres\n", name, len(l.latencies), l.processor.program, l.processor.postgres)
	return l, errors.Join(err, writeStatements(ctx, conn, filepath.Join(e.profiles, name+".sql.txt")))
}

// processorProfile leaves a CPU profile of f, in this process, when profiles are asked for.
func (e *environment) processorProfile(name string, f func() error) (err error) {
	if e.profiles == "" {
		return f()
	}
	out, err := os.Create(filepath.Join(e.profiles, name+".pprof"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return f()
}

// traceStatements has Postgres keep what profile reads. It needs a restart.
func (e *environment) traceStatements(ctx context.Context) error {
	for _, s := range []struct{ before, after string }{
		{"ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'", "CREATE EXTENSION pg_stat_statements"},
		{"", "ALTER SYSTEM SET pg_stat_statements.track_planning = on"},
		{"", "SELECT pg_reload_conf()"},
	} {
		if s.before != "" {
			if err := e.execute(ctx, s.before); err != nil {
				return err
			}
			if err := e.postgres.Restart(ctx); err != nil {
				return err
			}
		}
		if err := e.execute(ctx, s.after); err != nil {
			return err
		}
	}
	return nil
}

func (e *environment) execute(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, e.dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

const queryStatements = `SELECT calls, plans, total_plan_time, total_exec_time, rows, left(regexp_replace(query, '\s+', ' ', 'g'), 110)
	FROM pg_stat_statements WHERE query !~ 'pg_stat_statements' ORDER BY total_plan_time + total_exec_time DESC LIMIT 20`

func writeStatements(ctx context.Context, conn *pgx.Conn, file string) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "calls\tplans\tplanning ms\texecution ms\tms a call\trows\tstatement")
	rows, err := conn.Query(ctx, queryStatements)
	if err != nil {
		return err
	}
	var calls, plans, n int64
	var planning, execution float64
	var query string
	if _, err := pgx.ForEachRow(rows, []any{&calls, &plans, &planning, &execution, &n, &query}, func() error {
		_, err := fmt.Fprintf(table, "%d\t%d\t%.1f\t%.1f\t%.3f\t%d\t%s\n", calls, plans, planning, execution, (planning+execution)/float64(calls), n, query)
		return err
	}); err != nil {
		return err
	}
	return table.Flush()
}
