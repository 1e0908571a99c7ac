package app

import (
	"context"
	"log/slog"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/method"
	"github.com/coffer-vault/coffer/internal/vault/rotation/runner"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// rotations bring the rotations on in every replica: the lease of a run, in the database, says which works on it.
type rotations struct{ runner *runner.Runner }

func setupRotations(mgr manager.Manager, engine *vault.Engine, c Config, logger *slog.Logger) error {
	methods := method.Methods{Limits: c.WebhookLimits}
	return mgr.Add(rotations{&runner.Runner{
		Vault: engine, Consumers: moved{engine}, Logger: logger,
		Rotators: func(ctx context.Context, m rotation.Method, read runner.Reader) (rotator.Rotator, error) {
			return methods.New(ctx, m.Kind, m.Settings, method.Reader(read))
		},
		Renewers: func(m rotation.Method) (rotator.Renewer, error) { return methods.Renewer(m.Kind, m.Settings) },
	}})
}

// NeedLeaderElection is false: rotations go on while the operator has no leader.
func (rotations) NeedLeaderElection() bool { return false }

// Start brings rotations on until ctx ends, and returns when no step is under way any more.
func (r rotations) Start(ctx context.Context) error {
	r.runner.Run(ctx)
	return nil
}

// moved counts the consumers that the engine knows: VaultSecrets, and who reads over the API.
type moved struct{ engine *vault.Engine }

// Consumers implements runner.Consumers, as does ConsumersBack.
func (m moved) Consumers(ctx context.Context, path secret.Path, version int64) (total, onIt int, err error) {
	p, err := m.engine.ConsumersMoved(ctx, path, version)
	return p.Total, p.Moved, err
}

// ConsumersBack counts those that have gone back.
func (m moved) ConsumersBack(ctx context.Context, path secret.Path, version int64) (total, back int, err error) {
	p, err := m.engine.ConsumersBack(ctx, path, version)
	return p.Total, p.Moved, err
}
