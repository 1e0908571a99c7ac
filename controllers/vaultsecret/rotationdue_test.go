package vaultsecret_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// remind sets after how many days the owner is reminded.
func (w *world) remind(path string, days int) {
	w.t.Helper()
	if _, err := w.vault.Engine.Update(w.t.Context(), w.vault.Admin, secret.UpdateRequest{Path: vaulttest.Path(w.t, path), RotateAfterDays: &days}); err != nil {
		w.t.Fatal(err)
	}
}

// withoutCondition waits until object has no condition of the kind.
func (w *world) withoutCondition(object *vaultv1alpha1.VaultSecret, kind string) {
	w.t.Helper()
	w.eventually(func() string {
		if c := meta.FindStatusCondition(refreshed(w, object).Status.Conditions, kind); c != nil {
			return "there is still " + c.Message
		}
		return ""
	})
}

// TestRotationDue: a reminder shows as a condition, which turns when the time comes, with one event; a rotation turns it back, and Ready
// has no part in it. Without a reminder there is none.
func TestRotationDue(t *testing.T) {
	t.Parallel()
	// What is written now is 30 days old for the operator, less some seconds.
	const before = 30*24*time.Hour - 8*time.Second
	w := newWorldWith(t, vaulttest.Config{Clock: func() time.Time { return time.Now().Add(-before) }})
	op := w.startOperator()
	awaits(op.synced)
	w.put(database, `{"password":"one"}`)
	object := w.ofPath("payments", database)
	w.ready(object)
	w.withoutCondition(object, vaultv1alpha1.ConditionRotationDue)

	w.remind(database, 31)
	c := w.conditionIs(object, vaultv1alpha1.ConditionRotationDue, vaultv1alpha1.ReasonRotationNotDue)
	if c.Status != metav1.ConditionFalse || !strings.HasPrefix(c.Message, "the next rotation is that of "+database+", due at ") {
		t.Errorf("not due: %+v", c)
	}
	w.put(database, `{"password":"two"}`)
	w.remind(database, 30)
	c = w.conditionIs(object, vaultv1alpha1.ConditionRotationDue, vaultv1alpha1.ReasonRotationOverdue)
	if c.Status != metav1.ConditionTrue || !strings.HasPrefix(c.Message, "the rotation is overdue of "+database+" (every 30 days, since ") {
		t.Errorf("overdue: %+v", c)
	}
	w.ready(object)
	w.hasEvent(object, vaultv1alpha1.ReasonRotationOverdue)
	w.refresh(object, "again")
	w.eventually(func() string {
		if got := refreshed(w, object).Status.LastRefreshRequest; got != "again" {
			return "the last refresh is " + got
		}
		return ""
	})
	told := slices.DeleteFunc(w.events(object), func(e string) bool { return !strings.HasPrefix(e, vaultv1alpha1.ReasonRotationOverdue) })
	if len(told) != 1 {
		t.Errorf("it was told %d times: %v", len(told), told)
	}

	w.remind(database, 60)
	w.conditionIs(object, vaultv1alpha1.ConditionRotationDue, vaultv1alpha1.ReasonRotationNotDue)
	w.remind(database, 0)
	w.withoutCondition(object, vaultv1alpha1.ConditionRotationDue)
	w.ready(object)
}
