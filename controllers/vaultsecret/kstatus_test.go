package vaultsecret_test

import (
	"testing"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit"
)

// seenAs checks what tools that go by kstatus take object for, as it is now.
func (w *world) seenAs(object client.Object, when string, want status.Status) {
	w.t.Helper()
	if got := testkit.KStatus(w.t, w.client, object); got != want {
		w.t.Errorf("%s: kstatus says %s, want %s", when, got, want)
	}
}

// Tools that know Kubernetes' conventions, and nothing of Coffer, take a VaultSecret for
// current when its Secret is right and its workloads run with it, and never before.
func TestKStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(database, `{"password":"one"}`)
	object := w.ofPath("payments", database)
	w.seenAs(object, "no operator has seen it", status.InProgressStatus)

	op := w.startOperator()
	awaits(op.synced)
	w.ready(object)
	w.seenAs(object, "ready", status.CurrentStatus)

	d := w.deployment("api", envFrom("payments"))
	w.ready(w.rolledOutFirst(object, d))
	w.rotate(database, `{"password":"two"}`)
	w.stamped(d, "payments")
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRollingOut)
	w.seenAs(object, "its workload rolls", status.InProgressStatus)
	w.rolledOut(d)
	w.ready(object)
	w.seenAs(object, "its workload has rolled", status.CurrentStatus)

	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Suspend = true })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSuspended)
	w.seenAs(object, "suspended", status.InProgressStatus)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Suspend = false })
	w.ready(object)
	w.seenAs(object, "resumed", status.CurrentStatus)

	op.stop()
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Labels = map[string]string{"a": "b"} })
	w.seenAs(object, "its spec is newer than its status", status.InProgressStatus)

	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Finalizers = []string{"example.com/waits"} })
	w.delete(object)
	w.seenAs(object, "being deleted", status.TerminatingStatus)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Finalizers = nil })
}

// What is wrong with a VaultSecret may end without a change of it: by a policy, an
// account or a value that comes. Tools go on waiting for it, and none takes it for
// current, nor for failed, at which some give up.
func TestKStatusOfFailures(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, `{"password":"one"}`)
	for name, test := range map[string]struct {
		spec   func(*vaultv1alpha1.VaultSecretSpec)
		reason string
	}{
		"denied":     {func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = "production/others/database" }, vaultv1alpha1.ReasonDenied},
		"no-account": {func(s *vaultv1alpha1.VaultSecretSpec) { s.Path, s.ServiceAccountName = database, "nobody" }, vaultv1alpha1.ReasonServiceAccountNotFound},
		"no-property": {func(s *vaultv1alpha1.VaultSecretSpec) {
			s.Data = []vaultv1alpha1.VaultSecretData{{Key: "a", Path: database, Property: "pasword"}}
		}, vaultv1alpha1.ReasonPropertyNotFound},
	} {
		object := w.vaultSecret(name, test.spec)
		w.conditionIs(object, vaultv1alpha1.ConditionReady, test.reason)
		w.seenAs(object, name, status.InProgressStatus)
	}

	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Rollout.OnFailure = vaultv1alpha1.OnFailureIgnore
	})
	d := w.deployment("api", envFrom("payments"))
	w.ready(w.rolledOutFirst(object, d))
	w.rotate(database, `{"password":"two"}`)
	w.stamped(d, "payments")
	w.missesDeadline(d)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRolloutFailed)
	w.seenAs(object, "its rollout failed", status.InProgressStatus)
}
