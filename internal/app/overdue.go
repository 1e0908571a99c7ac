package app

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/coffer-vault/coffer/internal/vault"
)

const (
	// countOverdueEvery is how often what is overdue is counted: people count it in days.
	countOverdueEvery = 10 * time.Minute
	// countOverdueAgain is how soon that is tried again when it failed.
	countOverdueAgain = 30 * time.Second
)

// overdueCount keeps the metrics of what is overdue, in every replica, whether somebody is told of it or not.
type overdueCount struct {
	count  func(context.Context) error
	logger *slog.Logger
}

func setupOverdueCount(mgr manager.Manager, engine *vault.Engine, logger *slog.Logger) error {
	return mgr.Add(&overdueCount{count: engine.CountOverdue, logger: logger})
}

// NeedLeaderElection is false: each replica has metrics of its own.
func (*overdueCount) NeedLeaderElection() bool { return false }

// Start counts until ctx ends.
func (c *overdueCount) Start(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(c.countOnce(ctx))
		}
	}
}

// countOnce returns when to do so again. Replicas that start together do not stay together.
func (c *overdueCount) countOnce(ctx context.Context) time.Duration {
	if err := c.count(ctx); err != nil {
		if ctx.Err() == nil {
			c.logger.WarnContext(ctx, "what is overdue was not counted; trying again", "error", err)
		}
		return countOverdueAgain
	}
	return wait.Jitter(countOverdueEvery, 0.1)
}
