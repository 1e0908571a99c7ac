package vaultsecret_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// gauge is the value of a metric for a reason; ok is false when there is no such series.
func (op *operator) gauge(t testing.TB, name, reason string) (value float64, ok bool) {
	t.Helper()
	families, err := op.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == reason {
				return metric.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

// countIs waits until so many VaultSecrets are Ready, or not, for the reason.
func (w *world) countIs(op *operator, reason string, want int) {
	w.t.Helper()
	w.eventually(func() string {
		if got, _ := op.gauge(w.t, "coffer_vaultsecrets", reason); int(got) != want {
			return fmt.Sprintf("%v VaultSecrets are %s, want %d", got, reason, want)
		}
		return ""
	})
}

// The metrics tell how many VaultSecrets are in which state, and of those whose Secret
// is not what it should be how long the longest waits, without a series for each.
func TestStatesAreCounted(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	for i := range 3 {
		w.ready(w.ofPath(fmt.Sprintf("good-%d", i), database))
	}
	denied := w.ofPath("bad", "production/payments/none")
	w.conditionIs(denied, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.countIs(op, vaultv1alpha1.ReasonSynced, 3)
	w.countIs(op, vaultv1alpha1.ReasonDenied, 1)
	if _, ok := op.gauge(t, "coffer_vaultsecret_unsynced_seconds", vaultv1alpha1.ReasonDenied); !ok {
		t.Error("nobody tells how long the denied one waits")
	}
	if seconds, ok := op.gauge(t, "coffer_vaultsecret_unsynced_seconds", vaultv1alpha1.ReasonSynced); ok {
		t.Errorf("one that is synced waits for %v s", seconds)
	}

	w.delete(denied)
	w.countIs(op, vaultv1alpha1.ReasonDenied, 0)
	if seconds, ok := op.gauge(t, "coffer_vaultsecret_unsynced_seconds", vaultv1alpha1.ReasonDenied); ok {
		t.Errorf("one that is gone waits for %v s", seconds)
	}
	if got := op.syncs(t, vaultv1alpha1.ReasonDenied); got == 0 {
		t.Error("the denied sync is not counted")
	}
}

// logs waits for a line with all of these parts.
func (w *world) logs(op *operator, parts ...string) {
	w.t.Helper()
	w.eventually(func() string {
	lines:
		for line := range strings.Lines(op.logs.String()) {
			for _, part := range parts {
				if !strings.Contains(line, part) {
					continue lines
				}
			}
			return ""
		}
		return fmt.Sprintf("no line of the log has %q", parts)
	})
}

// The log tells what was written and from which versions, and a failure once.
func TestLogTellsWhatWasDone(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database; s.Target.Name = "payments-db" })
	w.ready(object)
	who := []string{`"namespace"="` + w.namespace + `"`, `"name"="payments"`, `"secret"="payments-db"`}
	w.logs(op, append(who, `"wrote the Secret"`, database+"@1", `"contentChanged"=false`, `"restored"=false`)...)
	w.rotate(database, "two")
	w.logs(op, append(who, `"wrote the Secret"`, database+"@2", `"contentChanged"=true`)...)
	change(w, w.secret("payments-db"), func(s *corev1.Secret) { s.Data["value"] = []byte("edited") })
	w.logs(op, append(who, `"wrote the Secret"`, `"restored"=true`)...)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Path = "production/payments/none" })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.logs(op, append(who, `"cannot sync"`, `"reason"="Denied"`, `"accessGone"=true`)...)
	w.refresh(object, "once more")
	op.stop()
	if got := strings.Count(op.logs.String(), `"cannot sync"`); got != 1 {
		t.Errorf("the failure stands %d times in the log, want once", got)
	}
}
