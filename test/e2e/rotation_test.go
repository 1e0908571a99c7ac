//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/sdk"
)

// grace is long enough for the kubelet to bring a changed Secret into a volume: see syncFrequency in its configuration.
const grace = "15s"

// TestRotationsBreakNothing rotates a login of PostgreSQL five times while six services log in every 50 ms. The third
// rotation fails: a service does not come up with it, so it is rolled back for all of them. No login of any service fails.
func TestRotationsBreakNothing(t *testing.T) {
	e := newEnvironment(t)
	db := newDatabase(t, e.namespace)
	s := startSix(t, e, db)
	e.rotation(t, s, db)

	const bad = 3
	var rows []rotationRow
	for n := 1; n <= 5; n++ {
		want := goodSteps
		if n == bad {
			s.refuse(t, db.other(s.user(t)))
			want = badSteps
		}
		before := s.logins.perService(t)
		run := s.rotate(t)
		rows = append(rows, rowOf(t, n, run, before, s.logins.perService(t)))
		if got := statesOf(run); !slices.Equal(got, want) {
			t.Errorf("rotation %d went through %v, want %v; reason %q, problem %q", n, got, want, run.Reason, run.Problem)
		}
		if n == bad {
			e.wantWarning(t, s.verified, "RolledBack")
			s.relent(t)
		}
	}
	s.end(t)
	total := s.logins.total(t)
	table := rotationTable(rows, total)
	t.Log("six services\n" + table)
	wantShape(t, table)
	if total.Failed > 0 {
		t.Errorf("%d logins failed:\n%s", total.Failed, s.logins.problems())
	}
	db.wantOnly(t, s.credentials.all(), 6)
}

// The states of a run, each once.
var (
	begun     = []string{"planned", "created", "set", "tested", "current", "propagating"}
	goodSteps = slices.Concat(begun, []string{"retiring", "done"})
	badSteps  = slices.Concat(begun, []string{"failed", "withdrawing", "revoking", "rolledBack"})
)

func statesOf(run sdk.RotationRun) (states []string) {
	for _, step := range run.Steps {
		states = append(states, step.State)
	}
	return slices.Compact(states)
}

// rotation defines the rotation of the services' login, as docs/guides/rotators.md says.
func (e *environment) rotation(t *testing.T, s *six, db *database) {
	t.Helper()
	must(t, e.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "rotator"}}))
	rotator := vaultv1alpha1.PolicySubjects{ServiceAccounts: []vaultv1alpha1.ServiceAccountSubject{{Namespace: e.namespace, Name: "rotator"}}}
	allow := func(path string, capabilities ...vaultv1alpha1.Capability) vaultv1alpha1.VaultPolicyRule {
		return vaultv1alpha1.VaultPolicyRule{
			Effect: vaultv1alpha1.EffectAllow, Paths: []vaultv1alpha1.PathPattern{vaultv1alpha1.PathPattern(path)}, Capabilities: capabilities, Subjects: rotator,
		}
	}
	administrator := e.path("administrator")
	coffer(t, db.administrator(t), "put", administrator)
	e.createForTest(t, &vaultv1alpha1.VaultPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: e.namespace + "-rotator"},
		Spec:       vaultv1alpha1.VaultPolicySpec{Rules: []vaultv1alpha1.VaultPolicyRule{allow(s.path, "read", "rotate"), allow(administrator, "read")}},
	})
	rotation := &vaultv1alpha1.VaultRotation{
		ObjectMeta: metav1.ObjectMeta{Name: e.namespace},
		Spec: vaultv1alpha1.VaultRotationSpec{
			Path: vaultv1alpha1.VaultPath(s.path), ServiceAccountRef: vaultv1alpha1.ServiceAccountReference{Namespace: e.namespace, Name: "rotator"},
			Method: vaultv1alpha1.RotationMethod{Postgres: &vaultv1alpha1.PostgresMethod{
				Credential: vaultv1alpha1.VaultPath(administrator), Host: db.host, Port: db.port, Database: db.name,
				TLS: vaultv1alpha1.SystemTLS{Disabled: true}, AlternatingRoles: db.roles[:],
			}},
			Consumed: vaultv1alpha1.RotationConsumed{Grace: grace},
		},
	}
	e.createForTest(t, rotation)
	eventually(t, "the VaultRotation to be ready", func(ctx context.Context) (bool, error) {
		err := e.client.Get(ctx, client.ObjectKeyFromObject(rotation), rotation)
		return err == nil && isTrue(rotation.Status.Conditions, "Ready"), err
	})
	s.rotation = rotation
}

func isTrue(conditions []metav1.Condition, kind string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind && c.Status == metav1.ConditionTrue })
}

// createForTest makes an object of the cluster that goes with the test.
func (e *environment) createForTest(t *testing.T, object client.Object) {
	t.Helper()
	must(t, e.client.Create(t.Context(), object))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(t, client.IgnoreNotFound(e.client.Delete(ctx, object)))
	})
}

// rotate asks for a rotation and waits for its end.
func (s *six) rotate(t *testing.T) sdk.RotationRun {
	t.Helper()
	var asked sdk.RotationRun
	must(t, json.Unmarshal([]byte(coffer(t, "", "rotation", "run", s.path, "-o", "json")), &asked))
	eventually(t, "the rotation to end", func(ctx context.Context) (bool, error) {
		if err := s.e.client.Get(ctx, client.ObjectKeyFromObject(s.rotation), s.rotation); err != nil {
			return false, err
		}
		last := s.rotation.Status.LastRun
		return last != nil && last.ID == asked.ID && last.EndedAt != nil, nil
	})
	var shown sdk.RotationStatus
	must(t, json.Unmarshal([]byte(coffer(t, "", "rotation", "show", s.path, "-o", "json")), &shown))
	if len(shown.Runs) == 0 || shown.Runs[0].ID != asked.ID {
		t.Fatalf("the newest of %d runs is not %s", len(shown.Runs), asked.ID)
	}
	return shown.Runs[0]
}
