//go:build failpoints

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The worker's environment: this program, started again, is the worker when workerLog is set.
const (
	workerLog   = "COFFER_FAULTS_LOG"
	workerDSN   = "COFFER_FAULTS_DSN"
	workerRedis = "COFFER_FAULTS_REDIS"
	workerRoot  = "COFFER_FAULTS_ROOT"
	workerSeed  = "COFFER_FAULTS_SEED"
	workerFlow  = "COFFER_FAULTS_FLOW"
)

const (
	// workerSteps bounds a run whose failpoint is never reached.
	workerSteps = 200
	// canary begins every value.
	canary = "canary-4e1b-of-the-fault-tests-"
	// cluster is the callers'.
	cluster = "faults"
)

// event is one line of the worker's log: what it is about to do and, Done, how that went. A line is one write of the
// kernel's, so what was acknowledged before SIGKILL is in the file after it.
type event struct {
	Op      string
	Path    string
	Request string
	Version int64
	Value   string
	Done    bool
	Refused bool
}

// worker does random work on the vault.
type worker struct {
	engine *vault.Engine
	rng    *rand.Rand
	log    io.Writer
	run    string
	n      int
}

func admin(request string) secret.Caller {
	return secret.Caller{Kind: secret.KindUser, Cluster: cluster, Name: "admin", Address: "127.0.0.1", RequestID: request}
}

// open opens the vault that the environment names.
func open(ctx context.Context, dsn, redis, rootFile string) (*vault.Engine, func(), error) {
	root, err := keyring.KeyFileRoot(rootFile)
	if err != nil {
		return nil, nil, err
	}
	return vault.Open(ctx, vault.Options{DatabaseURL: dsn, RedisURL: redis, Root: root})
}

// work is the worker's main.
func work(ctx context.Context) error {
	seed, err := strconv.ParseUint(os.Getenv(workerSeed), 10, 64)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(os.Getenv(workerLog), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	engine, closeEngine, err := open(ctx, os.Getenv(workerDSN), os.Getenv(workerRedis), os.Getenv(workerRoot))
	if err != nil {
		return err
	}
	defer closeEngine()
	w := &worker{engine: engine, rng: rand.New(rand.NewPCG(seed, 0)), log: log, run: os.Getenv(workerSeed)}
	usual := []string{"put", "put", "rotate", "delete", "read", "read"}
	for range workerSteps {
		op := usual[w.rng.IntN(len(usual))]
		if flow := os.Getenv(workerFlow); w.rng.IntN(2) == 0 {
			op = flow
		}
		if err := w.step(ctx, op); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	return nil
}

func (w *worker) step(ctx context.Context, op string) error {
	w.n++
	e := event{Op: op, Path: fmt.Sprintf("faults/p%d", w.rng.IntN(4)), Request: fmt.Sprintf("%s-%d", w.run, w.n)}
	if op == "put" || op == "rotate" {
		e.Value = canary + e.Request
	}
	if err := w.write(e); err != nil {
		return err
	}
	err := w.do(ctx, &e)
	e.Done, e.Refused = true, errors.Is(err, secret.ErrDenied)
	if err != nil && !e.Refused {
		return err
	}
	return w.write(e)
}

func (w *worker) write(e event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = w.log.Write(append(line, '\n'))
	return err
}

func (w *worker) do(ctx context.Context, e *event) error {
	caller := admin(e.Request)
	path, err := secret.ParsePath(e.Path)
	if err != nil {
		return err
	}
	switch e.Op {
	case "put", "rotate":
		value, err := secret.NewValue([]byte(e.Value))
		if err != nil {
			return err
		}
		write := w.engine.Put
		if e.Op == "rotate" {
			write = w.engine.Rotate
		}
		m, err := write(ctx, caller, secret.PutRequest{Path: path, Value: value})
		e.Version = m.Version
		return err
	case "read":
		s, err := w.engine.Read(ctx, caller, secret.Ref{Path: path})
		e.Version, e.Value = s.Version, string(s.Value.Bytes())
		return err
	case "delete":
		return w.engine.Delete(ctx, caller, path)
	case "policy":
		return w.policies(ctx)
	case "keys":
		return w.keys(ctx, caller)
	}
	return fmt.Errorf("no operation %q", e.Op)
}

// policies replaces the policies of a cluster without callers by others.
func (w *worker) policies(ctx context.Context) error {
	paths, err := policy.ParsePattern(fmt.Sprintf("other/n%d/**", w.n))
	if err != nil {
		return err
	}
	set, err := policy.New("other", []policy.Rule{{
		Effect: policy.Allow, Paths: []policy.Pattern{paths}, Capabilities: policy.Capabilities(),
		Subjects: policy.Subjects{Users: []string{"nobody"}},
	}})
	if err != nil {
		return err
	}
	_, err = w.engine.ReplacePolicies(ctx, "other", []policy.Policy{set})
	return err
}

// keys is a whole rotation of the keyring. It also ends those that were cut off.
func (w *worker) keys(ctx context.Context, caller secret.Caller) error {
	added, err := w.engine.AddKey(ctx, caller)
	if err != nil {
		return err
	}
	if err := w.engine.PromoteKey(ctx, caller, added); err != nil {
		return err
	}
	for remaining := int64(1); remaining > 0; {
		progress, err := w.engine.Rewrap(ctx, caller)
		if err != nil {
			return err
		}
		if progress.Failed > 0 {
			return errors.New("a data key does not open")
		}
		remaining = progress.Remaining
	}
	status, err := w.engine.KeyringStatus(ctx, caller)
	if err != nil {
		return err
	}
	for _, key := range slices.DeleteFunc(status.Keys, func(k vault.KeyStatus) bool { return k.State == vault.KeyPrimary }) {
		if key.State == vault.KeyEnabled {
			if err := w.engine.RetireKey(ctx, caller, key.ID); err != nil {
				return err
			}
		}
		if err := w.engine.DestroyKey(ctx, caller, key.ID); err != nil {
			return err
		}
	}
	return nil
}
