package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// statements is what one read asks of Postgres with a cache that is warm; the floor is no
// cache. Callers at the same time share statements, and each reads a path of its own.
func (e *environment) statements() []figure {
	measure := func(redisURL string, cacheBytes uint64, callers int) func(context.Context, time.Duration) (float64, float64, error) {
		return func(ctx context.Context, _ time.Duration) (float64, float64, error) {
			ours, err := e.statementsPerRead(ctx, redisURL, cacheBytes, callers)
			if err != nil {
				return 0, 0, err
			}
			floor, err := e.statementsPerRead(ctx, "", 0, callers)
			return ours, floor, err
		}
	}
	const memory = 64 << 20
	return []figure{
		{"statements a read, Redis", "", "< 1", measure(e.redisURL, 0, 1)},
		{"statements a read, memory", "", "< 1", measure("", memory, 1)},
		{"the same, 32 callers, Redis", "", "< 1", measure(e.redisURL, 0, connections)},
		{"the same, 32 callers, memory", "", "< 1", measure("", memory, connections)},
	}
}

// statementsPerRead is what a thousand reads and more sent, each. What the engine asks by
// itself meanwhile, such as for its keyset, is among it.
func (e *environment) statementsPerRead(ctx context.Context, redisURL string, cacheBytes uint64, callers int) (float64, error) {
	engine, registry, closeEngine, err := e.openMetered(ctx, e.dsn, redisURL, cacheBytes)
	if err != nil {
		return 0, err
	}
	defer closeEngine()
	paths := make([]secret.Path, callers)
	for i := range paths {
		name := fmt.Sprintf("bench/statements/%d", i)
		if err := e.put(ctx, engine, name); err != nil {
			return 0, err
		}
		if paths[i], err = secret.ParsePath(name); err != nil {
			return 0, err
		}
	}
	if err := readTogether(ctx, engine, paths, 10); err != nil { // warm
		return 0, err
	}
	before, err := sent(registry)
	if err != nil {
		return 0, err
	}
	each := max(100, 1000/callers)
	if err := readTogether(ctx, engine, paths, each); err != nil {
		return 0, err
	}
	after, err := sent(registry)
	return (after - before) / float64(callers*each), err
}

// readTogether reads each path n times, all at the same time.
func readTogether(ctx context.Context, engine *vault.Engine, paths []secret.Path, n int) error {
	var group errgroup.Group
	for _, path := range paths {
		group.Go(func() error {
			for range n {
				found, err := engine.Read(ctx, user("storm"), secret.Ref{Path: path})
				if err != nil {
					return err
				}
				found.Value.Clear()
			}
			return nil
		})
	}
	return group.Wait()
}

// sent reads the engine's counter of statements.
func sent(registry *prometheus.Registry) (float64, error) {
	families, err := registry.Gather()
	if err != nil {
		return 0, err
	}
	for _, family := range families {
		if family.GetName() == "coffer_engine_database_statements_total" {
			return family.GetMetric()[0].GetCounter().GetValue(), nil
		}
	}
	return 0, errors.New("the engine counts no statements")
}
