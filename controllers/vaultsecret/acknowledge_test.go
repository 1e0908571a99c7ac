package vaultsecret_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// acknowledges waits until the vault knows these consumers of path, and no others.
func (w *world) acknowledges(path string, want ...secret.Consumer) {
	w.t.Helper()
	w.eventually(func() string {
		found, err := w.vault.Engine.Consumers(context.Background(), w.vault.Admin, vaulttest.Path(w.t, path))
		if err != nil {
			return err.Error()
		}
		return cmp.Diff(want, found, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(secret.Consumer{}, "Since", "SeenAt"))
	})
}

// consumer is object as the vault is to know it.
func (w *world) consumer(object *vaultv1alpha1.VaultSecret, version int64, state string, rolled, workloads int) secret.Consumer {
	return secret.Consumer{
		Kind: secret.ConsumerVaultSecret, Cluster: w.namespace, Namespace: w.namespace, Name: object.Name, UID: string(object.UID),
		Version: version, State: state, Rolled: rolled, Workloads: workloads,
	}
}

// acknowledgements are the rows that the vault has of consumers, with who wrote each.
func (w *world) acknowledgements() string {
	w.t.Helper()
	conn, err := pgx.Connect(context.Background(), w.vault.DSN)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var rows string
	err = conn.QueryRow(context.Background(), `SELECT coalesce(string_agg(r, E'\n' ORDER BY r), '') FROM (
		SELECT xmin::text || c::text AS r FROM consumers c UNION ALL SELECT xmin::text || s::text FROM consumer_sets s) AS rows`).Scan(&rows)
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// TestVaultSecretsAcknowledge what they have as it changes: the version that the Secret
// holds, and how many workloads run with it. One that is deleted has nothing, nor one that
// was taken the right.
func TestVaultSecretsAcknowledge(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, `{"password":"one"}`)
	w.put("production/payments/other", "other")
	object := w.ofPath("payments", database)
	w.ready(object)
	w.acknowledges(database, w.consumer(object, 1, "Synced", 0, 0))
	first, second := w.deployment("first", envFrom("payments")), w.deployment("second", volume("payments"))
	w.rolledOut(first)
	w.rolledOut(second)
	w.acknowledges(database, w.consumer(object, 1, "Synced", 2, 2))

	w.rotate(database, `{"password":"two"}`)
	w.acknowledges(database, w.consumer(object, 2, "RollingOut", 0, 2))
	w.stamped(first, "payments")
	w.rolledOut(first)
	w.acknowledges(database, w.consumer(object, 2, "RollingOut", 1, 2))
	w.stamped(second, "payments")
	w.rolledOut(second)
	w.acknowledges(database, w.consumer(object, 2, "Synced", 2, 2))

	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Suspend = true })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSuspended)
	w.rotate(database, `{"password":"three"}`)
	w.acknowledges(database, w.consumer(object, 2, "Suspended", 2, 2))
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Suspend, o.Spec.Path = false, "production/payments/other" })
	w.acknowledges(database)
	w.delete(object)
	w.acknowledges("production/payments/other")
}

// TestRolloutIsAcknowledgedWhenItHasSucceeded: a pod that became ready just now may crash, and the Secret goes back then. The former credential
// must not be retired before.
func TestRolloutIsAcknowledgedWhenItHasSucceeded(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	object, d := w.rotatedOnce()
	pod := w.pod(d, readySince(time.Now()))
	w.rolledOut(d)
	w.workloadsAre(object, vaultv1alpha1.WorkloadStatus{Kind: "Deployment", Name: d.Name, State: vaultv1alpha1.WorkloadCurrent})
	w.acknowledges(database, w.consumer(object, 2, "Synced", 0, 1))
	w.tellsOfPod(pod, readySince(time.Now().Add(-time.Minute)))
	w.acknowledges(database, w.consumer(object, 2, "Synced", 1, 1))
}

// readySince is the status of a pod that is ready since then.
func readySince(since time.Time) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
		Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since),
	}}}
}

// TestRestartAcknowledgesWhatWasMissed, and writes nothing when nothing was.
func TestRestartAcknowledgesWhatWasMissed(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, `{"password":"one"}`)
	stays, goes := w.ofPath("stays", database), w.ofPath("goes", database)
	w.ready(stays)
	w.ready(goes)
	w.acknowledges(database, w.consumer(goes, 1, "Synced", 0, 0), w.consumer(stays, 1, "Synced", 0, 0))
	op.stop()
	before := w.acknowledgements()
	op = w.startOperator()
	w.eventually(func() string {
		if op.engine.acknowledged.Load() == 0 {
			return "nothing was compared"
		}
		return ""
	})
	w.reconciled(op, stays)
	if diff := cmp.Diff(before, w.acknowledgements()); diff != "" {
		t.Errorf("a restart wrote (-before +after):\n%s", diff)
	}
	op.stop()
	w.delete(goes)
	op = w.startOperator()
	w.acknowledges(database, w.consumer(stays, 1, "Synced", 0, 0))
}

// TestAcknowledgementsOutliveTheDatabase: what could not be told is told later, and what was
// changed in the database is put right when all are told again.
func TestAcknowledgementsOutliveTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var away atomic.Bool
	op := w.startOperatorWith(w.namespace, true, func(op *operator) { op.engine.unacknowledged = away.Load })
	awaits(op.synced)
	w.put(database, `{"password":"one"}`)
	object := w.ofPath("payments", database)
	w.acknowledges(database, w.consumer(object, 1, "Synced", 0, 0))
	away.Store(true)
	w.rotate(database, `{"password":"two"}`)
	w.holds("payments", map[string]string{"password": "two"})
	failed := op.engine.acknowledged.Load()
	w.eventually(func() string {
		if got := op.engine.acknowledged.Load(); got < failed+2 {
			return fmt.Sprintf("%d calls, after %d", got, failed)
		}
		return ""
	})
	away.Store(false)
	w.acknowledges(database, w.consumer(object, 2, "Synced", 0, 0))

	conn, err := pgx.Connect(t.Context(), w.vault.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), `DELETE FROM consumers`); err != nil {
		t.Fatal(err)
	}
	w.rotate(database, `{"password":"three"}`)
	w.acknowledges(database, w.consumer(object, 3, "Synced", 0, 0))
}
