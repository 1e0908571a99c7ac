package vault

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// rotator is who brings runs on: every replica by itself, by no token.
var rotator = secret.Caller{Kind: secret.KindSystem, Name: "rotation", Address: "manager"}

// ErrRotationLost says that a run was taken by another replica, or changed by somebody, since it was claimed. What was to be written of it
// is not.
var ErrRotationLost = errors.New("the rotation was taken or changed meanwhile")

// ruleRunMAC is the finding about a run that is not as the engine wrote it, or older than its last step.
const ruleRunMAC = "the rotation's run fails its integrity check"

// RotationClaim is a run that this process works on, until its lease ends.
type RotationClaim struct {
	Run rotation.Run
	row *store.RotationRun
}

// Caller is in whose name the run reads and writes its path.
func (c *RotationClaim) Caller() secret.Caller {
	return c.Run.Definition.As.Caller(c.Run.Cluster, c.Run.ID)
}

// ClaimRotation takes a run that is to go on and that no replica works on; nil when there is none. It is this process's until lease is over,
// or until it is given back; with each Advance the lease begins anew.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) ClaimRotation(ctx context.Context, lease time.Duration) (*RotationClaim, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	row, err := e.store.ClaimRotationRun(ctx, lease)
	if err != nil || row == nil {
		return nil, err
	}
	run, err := e.openRun(row)
	if err == nil {
		return &RotationClaim{Run: run, row: row}, nil
	}
	if !errors.Is(err, secret.ErrTampered) {
		// One of a later version of Coffer, whose replicas go on with it.
		e.logger.WarnContext(ctx, "a rotation is left to others", "rotation", row.Name, "error", err)
		return nil, e.store.ReleaseRotationRun(ctx, row, tamperedRunAgain)
	}
	// It is not believed, and looked at again now and then: somebody may put it right.
	v := verdict{entry: newEntry(rotator, audit.RotationStep, row.Path, 0, audit.Failed, ruleRunMAC), err: err}
	if err := e.record(ctx, v); !errors.Is(err, secret.ErrTampered) {
		return nil, err
	}
	return nil, e.store.ReleaseRotationRun(ctx, row, tamperedRunAgain)
}

// tamperedRunAgain is when a run is looked at again that was not believed.
const tamperedRunAgain = 10 * time.Minute

// ReleaseRotation gives a run back as it is, to be looked at again after wait.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) ReleaseRotation(ctx context.Context, c *RotationClaim, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()
	return e.store.ReleaseRotationRun(ctx, c.row, wait)
}

// openRun reads a run that verifies.
func (e *Engine) openRun(row *store.RotationRun) (rotation.Run, error) {
	failed := fmt.Errorf("%w: the run of the rotation %s", secret.ErrTampered, row.Name)
	if !hmac.Equal(row.MAC, e.runMAC(row)) {
		return rotation.Run{}, failed
	}
	var run rotation.Run
	if err := unmarshalStrictly(row.Record, &run); err != nil {
		return rotation.Run{}, fmt.Errorf("%w: the run of the rotation %s is stored in a form that this version of Coffer does not know: %w",
			secret.ErrUnavailable, row.Name, err)
	}
	if run.Steps != row.NewestStep {
		return rotation.Run{}, failed // an older row put back: its later steps are there
	}
	return run, nil
}

// sealRun is the row of a run after before, which is nil for a new one.
func (e *Engine) sealRun(run *rotation.Run, before *store.RotationRun) (*store.RotationRun, error) {
	id, err := uuid.Parse(run.ID)
	if err != nil {
		return nil, fmt.Errorf("%w: the run %q of a rotation", secret.ErrInvalid, run.ID)
	}
	row := &store.RotationRun{
		ID: id, Cluster: run.Cluster, Name: run.Definition.Name, Path: run.Definition.Path, DueAt: run.DueAt, PlannedAt: run.PlannedAt,
		Ended: run.State.Ended(), Revision: 1, NewestStep: run.Steps,
	}
	if before != nil {
		row.Revision, row.Epoch = before.Revision+1, before.Epoch
	}
	if row.Record, err = json.Marshal(run); err != nil {
		return nil, fmt.Errorf("%w: the run of the rotation %s: %w", secret.ErrInvalid, row.Name, err)
	}
	row.MAC = e.runMAC(row)
	return row, nil
}

func (e *Engine) runMAC(r *store.RotationRun) []byte {
	var ended []byte
	if r.Ended {
		ended = []byte{1}
	}
	mac := e.keyring.MAC(purposeRotationRun, e.vaultID[:], r.ID[:], []byte(r.Cluster), []byte(r.Name), []byte(r.Path),
		timeBytes(r.DueAt), timeBytes(r.PlannedAt), ended, intBytes(r.Revision), r.Record)
	return mac[:]
}

// sealStep is the row of the newest step of a run.
func (e *Engine) sealStep(id store.ID, run *rotation.Run, detail string, at time.Time) *store.RotationStep {
	s := &store.RotationStep{RunID: id, Number: run.Steps, State: string(run.State), Detail: detail, At: at}
	s.MAC = e.stepMAC(s)
	return s
}

func (e *Engine) stepMAC(s *store.RotationStep) []byte {
	mac := e.keyring.MAC(purposeRotationStep, e.vaultID[:], s.RunID[:], intBytes(s.Number), []byte(s.State), []byte(s.Detail), timeBytes(s.At))
	return mac[:]
}
