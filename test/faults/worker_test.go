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
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

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
	// workerFlow is the operations to do one after the other on one path, with commas.
	workerFlow    = "COFFER_FAULTS_FLOW"
	workerClients = "COFFER_FAULTS_CLIENTS"
	// workerLoad makes the worker go on, whatever fails, until it is told to end.
	workerLoad = "COFFER_FAULTS_LOAD"
	// workerSinks is the file that names whom the worker tells of rotations; nobody when empty.
	workerSinks = "COFFER_FAULTS_SINKS"
)

const (
	// workerSteps bounds a run whose failpoint is never reached.
	workerSteps = 200
	// canary is in every value.
	canary = "canary-4e1b-of-the-fault-tests-"
	// cluster is the callers'.
	cluster = "faults"
)

// event is one line of the worker's log: what it is about to do and, Done, how that went, or Failed. A line is one write
// of the kernel's, so what was acknowledged before SIGKILL is in the file after it.
type event struct {
	Op      string
	Path    string
	Run     string
	Client  int
	Request string
	// Key is the idempotency key of a write; Again says that it was cut off before and is sent again.
	Key   string
	Again bool
	// Version is the one to change the state of or, Done, the answered one; a deletion answers none.
	Version int64
	// Value is what is written or was read; of an update it is the description.
	Value   string
	Done    bool
	Refused bool
	// Failed is the error of an operation that has no answer: it took effect, or did not, or will yet.
	Failed string
	// Took is how long an operation took that is Done or Failed.
	Took time.Duration
}

// Lines that are about no operation.
const (
	// heard is of the follower: Version is the position of a change.
	heard = "heard"
	// found is of a check: Value is what was seen of a path while nobody worked on it.
	found = "found"
)

func (e event) appendTo(log io.Writer) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = log.Write(append(line, '\n'))
	return err
}

// writes reports whether the operation writes a value.
func (e event) writes() bool {
	return slices.Contains([]string{"put", "put-pending", "rotate", "patch"}, e.Op)
}

// aboutNoPath reports whether the operation is one that nothing is predicted about, but what all have in common.
func (e event) aboutNoPath() bool {
	return slices.Contains([]string{"policy", "keys", "retain", "root", "acknowledge", "forget", "rotation", "rotation-approved", "rotation-cancelled", "rotation-failed", heard}, e.Op)
}

// action is the operation's name in the audit log.
func (e event) action() string {
	if e.Op == "put-pending" {
		return "put"
	}
	return e.Op
}

// worker is one client that does random work on paths of its own.
type worker struct {
	engine *vault.Engine
	rng    *rand.Rand
	log    io.Writer
	run    string
	client int
	n      int
	// written are the versions that this run wrote.
	written map[string][]int64
}

func admin(request string) secret.Caller {
	return secret.Caller{Kind: secret.KindUser, Cluster: cluster, Name: "admin", Address: "127.0.0.1", RequestID: request}
}

// open opens the vault with the root key of a file.
func open(ctx context.Context, o vault.Options, rootFile string) (_ *vault.Engine, _ func(), err error) {
	if o.Root, err = keyring.KeyFileRoot(rootFile); err != nil {
		return nil, nil, err
	}
	return vault.Open(ctx, o)
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
	metrics := prometheus.NewRegistry()
	engine, closeEngine, err := open(ctx, vault.Options{
		DatabaseURL: os.Getenv(workerDSN), RedisURL: os.Getenv(workerRedis), Registerer: metrics, RewrapBatch: 1,
		Notify: os.Getenv(workerSinks) != "",
	}, os.Getenv(workerRoot))
	if err != nil {
		return err
	}
	defer closeEngine()
	if sinks := os.Getenv(workerSinks); sinks != "" {
		end, err := startTelling(ctx, engine, sinks)
		if err != nil {
			return err
		}
		defer end()
	}
	clients, err := strconv.Atoi(os.Getenv(workerClients))
	if err != nil {
		return err
	}
	workers := make([]*worker, clients)
	for client := range workers {
		w := newWorker(engine, log, os.Getenv(workerSeed))
		w.client, w.rng = client, rand.New(rand.NewPCG(seed, uint64(client)))
		workers[client] = w
	}
	flow := strings.Split(os.Getenv(workerFlow), ",")
	if os.Getenv(workerLoad) != "" {
		return (&load{workers: workers, flow: flow, metrics: metrics}).run(ctx)
	}
	var group errgroup.Group
	for _, w := range workers {
		group.Go(func() error { return w.work(ctx, flow) })
	}
	return group.Wait()
}

func newWorker(engine *vault.Engine, log io.Writer, run string) *worker {
	return &worker{engine: engine, log: log, run: run, written: map[string][]int64{}}
}

// usual is what else happens.
var usual = []string{
	"put", "put", "rotate", "patch", "put-pending", "read", "read", "rollback", "promote", "update", "delete", "undelete", "destroy",
	"delete-versions", "undelete-versions", "destroy-versions",
}

func (w *worker) work(ctx context.Context, flow []string) error {
	for range workerSteps {
		if err := w.round(ctx, flow, w.step); err != nil {
			return err
		}
	}
	return nil
}

// round does, by act, either one usual thing or the flow.
func (w *worker) round(ctx context.Context, flow []string, act func(context.Context, event) (event, error)) error {
	ops := []string{usual[w.rng.IntN(len(usual))]}
	if w.rng.IntN(2) == 0 {
		ops = flow
	}
	path, version := fmt.Sprintf("faults/c%d-p%d", w.client, w.rng.IntN(4)), int64(1)
	if written := w.written[path]; len(written) > 0 {
		version = written[len(written)-1]
		if len(ops) == 1 {
			version = written[w.rng.IntN(len(written))]
		}
	}
	for _, op := range ops {
		if _, err := act(ctx, event{Op: op, Path: path, Version: version}); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		if op == "put" && len(ops) > 1 {
			version = w.written[path][max(0, len(w.written[path])-2)]
		}
	}
	return nil
}

// step does what e says, and writes it down before and after. It returns what it wrote down.
func (w *worker) step(ctx context.Context, e event) (event, error) {
	w.n++
	e.Run, e.Client, e.Request = w.run, w.client, fmt.Sprintf("%s-%d-%d", w.run, w.client, w.n)
	if e.writes() && !e.Again {
		// An object, so that it can be patched; its one property, so that a patch makes it whole.
		e.Key, e.Value = e.Request, fmt.Sprintf(`{"value":%q}`, canary+e.Request)
	}
	if e.Op == "update" { // a description is no secret
		e.Value = "of-" + e.Request
	}
	if !strings.HasSuffix(e.Op, "-versions") {
		e.Version = 0
	}
	if err := e.appendTo(w.log); err != nil {
		return e, err
	}
	begin := time.Now()
	err := w.do(ctx, &e)
	e.Took = time.Since(begin)
	for _, refusal := range []error{secret.ErrDenied, secret.ErrVersionNotFound, secret.ErrConflict, secret.ErrInvalid} {
		e.Refused = e.Refused || errors.Is(err, refusal)
	}
	if err != nil && !e.Refused {
		e.Failed = err.Error()
		return e, errors.Join(err, e.appendTo(w.log))
	}
	if e.Done = true; e.writes() && !e.Refused {
		w.written[e.Path] = append(w.written[e.Path], e.Version)
	}
	return e, e.appendTo(w.log)
}

func (w *worker) do(ctx context.Context, e *event) error {
	caller := admin(e.Request)
	path, err := secret.ParsePath(e.Path)
	if err != nil {
		return err
	}
	m := secret.Metadata{Version: e.Version}
	switch e.Op {
	case "put", "put-pending":
		m, err = w.put(ctx, w.engine.Put, path, e)
	case "rotate":
		m, err = w.put(ctx, w.engine.Rotate, path, e)
	case "patch":
		m, err = w.put(ctx, w.patch, path, e)
	case "read":
		var s secret.Secret
		s, err = w.engine.Read(ctx, caller, secret.Ref{Path: path})
		m, e.Value = s.Metadata, string(s.Value.Bytes())
	case "rollback":
		m, err = w.engine.Rollback(ctx, caller, secret.Ref{Path: path}, nil)
	case "promote":
		m, err = w.engine.Promote(ctx, caller, path, nil)
	case "update":
		m, err = w.engine.Update(ctx, caller, secret.UpdateRequest{Path: path, Description: &e.Value})
	case "delete":
		err = w.engine.Delete(ctx, caller, path)
	case "undelete":
		m, err = w.engine.Undelete(ctx, caller, path)
	case "destroy":
		err = w.engine.Destroy(ctx, caller, path)
	case "delete-versions":
		err = w.engine.DeleteVersions(ctx, caller, path, e.Version)
	case "undelete-versions":
		err = w.engine.UndeleteVersions(ctx, caller, path, e.Version)
	case "destroy-versions":
		err = w.engine.DestroyVersions(ctx, caller, path, e.Version)
	case "policy":
		err = w.policies(ctx)
	case "keys":
		err = w.keys(ctx, caller)
	case "retain":
		err = w.retain(ctx)
	case "rotation", "rotation-approved", "rotation-cancelled", "rotation-failed":
		err = w.rotation(ctx, caller, e.Op)
	case "root":
		err = w.replaceRoot(ctx)
	case "acknowledge":
		err = w.acknowledge(ctx)
	case "forget":
		_, err = w.engine.ForgetConsumers(ctx, caller, acknowledgedCluster, false)
	default:
		err = fmt.Errorf("no operation %q", e.Op)
	}
	e.Version = m.Version
	return err
}

func (w *worker) patch(ctx context.Context, caller secret.Caller, r secret.PutRequest) (secret.Metadata, error) {
	return w.engine.Patch(ctx, caller, secret.PatchRequest{Path: r.Path, Patch: r.Value, IdempotencyKey: r.IdempotencyKey})
}

type putFunc func(context.Context, secret.Caller, secret.PutRequest) (secret.Metadata, error)

func (w *worker) put(ctx context.Context, put putFunc, path secret.Path, e *event) (secret.Metadata, error) {
	value, err := secret.NewValue([]byte(e.Value))
	if err != nil {
		return secret.Metadata{}, err
	}
	return put(ctx, admin(e.Request), secret.PutRequest{Path: path, Value: value, IdempotencyKey: e.Key, Pending: e.Op == "put-pending"})
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

// acknowledge has a VaultSecret move on, beside one that stays as it is.
func (w *worker) acknowledge(ctx context.Context) error {
	path, err := secret.ParsePath(acknowledgedPath)
	if err != nil {
		return err
	}
	return w.engine.Acknowledge(ctx, acknowledgedCluster, []secret.Acknowledgement{
		{Kind: secret.ConsumerVaultSecret, Namespace: "payments", Name: "moves", State: "Synced", Sources: []secret.HeldVersion{{Path: path, Version: int64(w.n) + 1}}},
		{Kind: secret.ConsumerVaultSecret, Namespace: "payments", Name: "stays", State: "Synced", Sources: []secret.HeldVersion{{Path: path, Version: 1}}},
	})
}

// acknowledgedPath is what is acknowledged, in a cluster that is not the callers', so that it can be forgotten.
const (
	acknowledgedPath    = "other/acknowledged"
	acknowledgedCluster = "elsewhere"
)

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
