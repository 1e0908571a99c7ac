package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/internal/testkit/redis"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

const (
	// installation is the namespace of the manager.
	installation = "coffer-system"
	// ours and floors are the prefixes of the namespaces of either.
	ours, floors = "bench", "floor"
	// sharedPath is that of many VaultSecrets, and rotatedPath of one.
	sharedPath, rotatedPath = "bench/shared", "bench/rotated"
	// mostShared is how many VaultSecrets share a path, when there are twice as many.
	mostShared = 1000
	// rotations is how often the one path is rotated.
	rotations = 300
	// idleWindow is how long nothing is done. The processor time of a process is counted in
	// steps of 10 ms.
	idleWindow = 20 * time.Second
)

// operatorBench is an operator on servers of its own: a kube-apiserver, a Postgres and a
// Redis. Its stages are run once each, in order, when a figure asks for one.
type operatorBench struct {
	e       *environment
	dir     string
	objects int // VaultSecrets
	rounds  int // of the first sync
	shared  int // of them, those that share a path
	rolled  int // of them, those with a Deployment; they share none

	plane    *controlPlane
	postgres *postgres.Server
	conn     *pgx.Conn
	dsn      string
	redisURL string
	engine   *vault.Engine
	tally    *tally
	manager  *managerProcess
	profiled string // where the profile of a manager goes that starts now, if anywhere

	prepared    func(context.Context) (struct{}, error)
	floor       func(context.Context) (floorRates, error)
	synced      func(context.Context) (firstSync, error)
	firstRounds func(context.Context) ([]syncRound, error)
	rotated     func(context.Context) ([]time.Duration, error)
	fannedOut   func(context.Context) (float64, error)
	restarted   func(context.Context) (restart, error)
	rested      func(context.Context) (idled, error)
}

// once remembers what f returned.
func once[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	var result T
	var err error
	done := false
	return func(ctx context.Context) (T, error) {
		if !done {
			result, err = f(ctx)
			done = true
		}
		return result, err
	}
}

func (e *environment) newOperatorBench(objects, rounds int) *operatorBench {
	b := &operatorBench{e: e, objects: objects, rounds: rounds, shared: min(mostShared, objects/2), rolled: min(100, objects/4)}
	b.prepared, b.floor, b.synced, b.firstRounds = once(b.prepare), once(b.measureFloor), once(b.sync), once(b.syncRounds)
	b.rotated, b.fannedOut, b.restarted, b.rested = once(b.rotate), once(b.fanOut), once(b.restart), once(b.rest)
	return b
}

// prepare starts the servers and makes the values and the objects, without a manager.
func (b *operatorBench) prepare(ctx context.Context) (none struct{}, err error) {
	if b.dir, err = os.MkdirTemp("", "coffer-bench-operator-"); err != nil {
		return none, err
	}
	b.closeAfter(func() error { return os.RemoveAll(b.dir) })
	if b.plane, err = startControlPlane(b.dir); err != nil {
		return none, err
	}
	b.closeAfter(b.plane.server.Stop)
	if err := b.openVault(ctx); err != nil {
		return none, err
	}
	if err := b.plane.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: installation}}); err != nil {
		return none, err
	}
	for _, prefix := range []string{ours, floors} {
		if err := b.plane.makeTenants(ctx, prefix); err != nil {
			return none, err
		}
	}
	if err := together(ctx, floorWorkers, b.rolled, b.makeDeployment); err != nil {
		return none, err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.closeAfter(func() error { stop(); return nil })
	b.tally = b.plane.follow(following)
	return none, b.makeObjects(ctx)
}

// makeObjects makes the VaultSecrets of the operator and of the floor.
func (b *operatorBench) makeObjects(ctx context.Context) error {
	for _, prefix := range []string{ours, floors} {
		if err := b.makeVaultSecrets(ctx, prefix); err != nil {
			return err
		}
	}
	return b.tally.until(ctx, func() bool { return len(b.tally.status) == 2*b.objects })
}

func (b *operatorBench) closeAfter(f func() error) { b.e.closers = append(b.e.closers, f) }

// openVault makes a vault that the manager of an earlier day has been on: its cluster is
// known. Postgres keeps the times of commits.
func (b *operatorBench) openVault(ctx context.Context) (err error) {
	if b.postgres, err = postgres.Start(ctx, postgres.Options{Durable: true}); err != nil {
		return err
	}
	b.closeAfter(b.postgres.Close)
	if b.dsn, err = b.postgres.CreateDatabase(ctx, "operator"); err != nil {
		return err
	}
	if err := b.keepCommitTimes(ctx); err != nil {
		return err
	}
	server, err := redis.Start(ctx)
	if err != nil {
		return err
	}
	b.closeAfter(server.Close)
	b.redisURL = server.URL()
	root, err := newRoot(b.dir)
	if err != nil {
		return err
	}
	var closeEngine func()
	if b.engine, closeEngine, err = openOn(ctx, root, b.dsn, b.redisURL); err != nil {
		return err
	}
	b.closeAfter(func() error { closeEngine(); return nil })
	if _, err := b.engine.ReplacePolicies(ctx, "default", nil); err != nil {
		return err
	}
	if err := allow(ctx, b.engine); err != nil {
		return err
	}
	return b.putValues(ctx)
}

func (b *operatorBench) keepCommitTimes(ctx context.Context) error {
	set, err := pgx.Connect(ctx, b.dsn)
	if err != nil {
		return err
	}
	_, err = set.Exec(ctx, "ALTER SYSTEM SET track_commit_timestamp = on")
	if err := errors.Join(err, set.Close(ctx), b.postgres.Restart(ctx)); err != nil {
		return err
	}
	if b.conn, err = pgx.Connect(ctx, b.dsn); err != nil {
		return err
	}
	b.closeAfter(func() error { return b.conn.Close(context.WithoutCancel(ctx)) })
	return nil
}

// commitTime is when the last change of the vault was committed, by the clock of this
// machine: a little before anybody could see it.
func (b *operatorBench) commitTime(ctx context.Context) (at time.Time, err error) {
	err = b.conn.QueryRow(ctx, "SELECT pg_xact_commit_timestamp(xmin) FROM changes ORDER BY position DESC LIMIT 1").Scan(&at)
	return at, err
}

// putValues writes what the VaultSecrets name.
func (b *operatorBench) putValues(ctx context.Context) error {
	paths := map[string]bool{}
	for i := range b.objects {
		paths[b.pathOf(i)] = true
	}
	distinct := make([]string, 0, len(paths))
	for path := range paths {
		distinct = append(distinct, path)
	}
	return together(ctx, connections, len(distinct), func(ctx context.Context, i int) error { return b.write(ctx, distinct[i], 0) })
}

// write puts a new version whose value begins with number.
func (b *operatorBench) write(ctx context.Context, path string, number int) error {
	parsed, err := secret.ParsePath(path)
	if err != nil {
		return err
	}
	value, err := secret.NewValue(numbered(number))
	if err != nil {
		return err
	}
	_, err = b.engine.Put(ctx, user("storm"), secret.PutRequest{
		Path: parsed, Value: value,
		Access: &secret.AccessPolicy{AllowedServices: []string{"*"}, AllowedEnvironments: []string{"production"}},
	})
	return err
}

// numbered is a value of valueSize bytes.
func numbered(number int) []byte {
	value := make([]byte, valueSize)
	copy(value, fmt.Sprintf("%0*d", numberDigits, number))
	return value
}

// pathOf is the path of the i-th VaultSecret: first those that share one, then the one
// that is rotated, and last those with a Deployment.
func (b *operatorBench) pathOf(i int) string {
	switch {
	case i < b.shared:
		return sharedPath
	case i == b.shared:
		return rotatedPath
	default:
		return fmt.Sprintf("bench/own/%d", i)
	}
}

// keyOf is the name of the i-th VaultSecret, of its Secret, and of its Deployment.
func keyOf(prefix string, i int) types.NamespacedName {
	return types.NamespacedName{Namespace: fmt.Sprintf("%s-%d", prefix, i%tenants), Name: fmt.Sprintf("secret-%05d", i)}
}

func (b *operatorBench) makeVaultSecrets(ctx context.Context, prefix string) error {
	return together(ctx, floorWorkers, b.objects, func(ctx context.Context, i int) error {
		key := keyOf(prefix, i)
		return b.plane.client.Create(ctx, &vaultv1alpha1.VaultSecret{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
			Spec:       vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: vaultv1alpha1.VaultPath(b.pathOf(i))},
		})
	})
}

// makeDeployment makes the i-th Deployment, of the i-th VaultSecret from the end, and
// says of it what its controller would, which this API server does not have: its pods run.
func (b *operatorBench) makeDeployment(ctx context.Context, i int) error {
	key := b.deploymentOf(i)
	labels := map[string]string{"app": key.Name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "main", Image: "none.local/none",
					EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: key.Name}}}},
				}}},
			},
		},
	}
	if err := b.plane.client.Create(ctx, d); err != nil {
		return err
	}
	return b.podsRun(ctx, d)
}

func (b *operatorBench) podsRun(ctx context.Context, d *appsv1.Deployment) error {
	patch := client.MergeFrom(d.DeepCopy())
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"}},
	}
	return b.plane.client.Status().Patch(ctx, d, patch)
}

// deploymentOf is the key of the i-th Deployment.
func (b *operatorBench) deploymentOf(i int) types.NamespacedName { return keyOf(ours, b.objects-1-i) }
