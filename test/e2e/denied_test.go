//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// TestAnotherNamespaceIsDenied: a second tenant who names the first one's path
// gets no Secret, is told so, and stands in the audit log.
func TestAnotherNamespaceIsDenied(t *testing.T) {
	e := newEnvironment(t)
	path := e.path("database")
	e.put(t, path, randomValue())
	intruder := e.addNamespace(t, "production")
	vs := e.vaultSecret(t, intruder, "stolen", path)

	var ready *string
	eventually(t, "the VaultSecret to say Denied", func(ctx context.Context) (bool, error) {
		if err := e.client.Get(ctx, client.ObjectKeyFromObject(vs), vs); err != nil {
			return false, err
		}
		condition := meta.FindStatusCondition(vs.Status.Conditions, vaultv1alpha1.ConditionReady)
		if condition == nil || condition.Reason != vaultv1alpha1.ReasonDenied {
			return false, nil
		}
		ready = &condition.Message
		return true, nil
	})
	for _, want := range []string{intruder + "/api", path, "coffer explain"} {
		if !strings.Contains(*ready, want) {
			t.Errorf("the condition's message does not say %q: %s", want, *ready)
		}
	}
	err := e.client.Get(t.Context(), client.ObjectKey{Namespace: intruder, Name: "stolen"}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the intruder has a Secret (error %v)", err)
	}
	if audit := coffer(t, "", "audit", "--path", path, "--decision", "denied"); !strings.Contains(audit, intruder+"/api") {
		t.Errorf("the audit log does not show the refusal:\n%s", audit)
	}
}

// TestDeniedEqualsMissing: the status of a denied path and that of one that does
// not exist differ in nothing but the path.
func TestDeniedEqualsMissing(t *testing.T) {
	e := newEnvironment(t)
	denied, missing := e.path("there"), e.path("gone0")
	coffer(t, randomValue(), "put", denied)
	messages := map[string]string{}
	for name, path := range map[string]string{"denied": denied, "missing": missing} {
		vs := e.vaultSecret(t, e.namespace, name, path)
		eventually(t, name+" to have a condition", func(ctx context.Context) (bool, error) {
			if err := e.client.Get(ctx, client.ObjectKeyFromObject(vs), vs); err != nil {
				return false, err
			}
			condition := meta.FindStatusCondition(vs.Status.Conditions, vaultv1alpha1.ConditionReady)
			if condition == nil || condition.Reason != vaultv1alpha1.ReasonDenied {
				return false, nil
			}
			messages[name] = strings.ReplaceAll(condition.Message, path, "PATH")
			return true, nil
		})
	}
	if messages["denied"] != messages["missing"] {
		t.Errorf("a tenant can tell the two apart:\n%s\n%s", messages["denied"], messages["missing"])
	}
}
