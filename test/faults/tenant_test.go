//go:build failpoints

package faults

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// tenant is a namespace with a VaultSecret and a Deployment that uses its Secret. Its values carry their version, so that
// a Secret tells which one it has.
type tenant struct {
	*operator
	namespace string
	path      secret.Path
	// What is wanted: version in a Secret of that name and kind, when it is shared, rolled out in as many stamps.
	version int64
	name    string
	kind    corev1.SecretType
	shared  bool
	stamps  int64
	// good is the version that its workload last ran with, once a rollout of a newer one has failed; 0 before.
	good int64

	watcher watch.Interface
	ended   chan struct{} // closed when nothing is watched any more
	mu      sync.Mutex
	held    []int64 // versions that Secrets had, as they were written
}

const account = "api"

// newTenant makes what a user would.
func (o *operator) newTenant(t *testing.T, namespace string) *tenant {
	t.Helper()
	at := &tenant{operator: o, namespace: namespace, name: "database", kind: corev1.SecretTypeOpaque, ended: make(chan struct{})}
	var err error
	at.path, err = secret.ParsePath("faults/" + namespace)
	must(t, err)
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}},
		at.deployment(),
	} {
		must(t, o.cluster.Create(t.Context(), object))
	}
	at.watch(t)
	at.put(t, at.access())
	must(t, o.cluster.Create(t.Context(), &vaultv1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "database"},
		Spec: vaultv1alpha1.VaultSecretSpec{
			ServiceAccountName: account, Path: vaultv1alpha1.VaultPath(at.path.String()),
			Rollout: vaultv1alpha1.VaultSecretRollout{Debounce: &metav1.Duration{}},
		},
	}))
	at.shared = true
	return at
}

func (at *tenant) deployment() *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	container := corev1.Container{Name: "web", Image: "web", EnvFrom: []corev1.EnvFromSource{{
		SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: at.name}},
	}}}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: at.namespace, Name: "web"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{container}}},
	}}
}

func (at *tenant) access() *secret.AccessPolicy {
	return &secret.AccessPolicy{AllowedServices: []string{at.namespace + "/" + account}, AllowedEnvironments: []string{"*"}}
}

// put writes the next version.
func (at *tenant) put(t *testing.T, access *secret.AccessPolicy) {
	t.Helper()
	at.version++
	value, err := secret.NewValue([]byte(fmt.Sprintf(`{"username":"web","password":"%s%d"}`, canary, at.version)))
	must(t, err)
	written, err := at.engine.Put(t.Context(), admin("put"), secret.PutRequest{Path: at.path, Value: value, Access: access})
	must(t, err)
	if written.Version != at.version {
		t.Fatalf("version %d was written, want %d", written.Version, at.version)
	}
}

// rotate is a cause: a new version.
func (at *tenant) rotate(t *testing.T) {
	at.put(t, nil)
	at.stamps++
}

// failRollout is a cause: a new version with which the pods do not come up, where they ran with another. No operator runs the
// first time, and then another works until the new version is rolled out.
func (at *tenant) failRollout(t *testing.T) {
	stop := func() {}
	if at.good == 0 {
		_, stop = at.start(t)
		at.reports(t, appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}, corev1.ConditionTrue, "NewReplicaSetAvailable")
		at.await(t, "a good version", func() bool {
			good := at.vaultSecret(t).Status.LastGood
			return good != nil && len(good.Sources) == 1 && good.Sources[0].Version == at.version
		})
		at.good = at.version
	}
	at.put(t, nil)
	at.await(t, "the rollout", func() bool {
		status := at.vaultSecret(t).Status
		return status.Version == at.version && len(status.Workloads) == 1 && status.Workloads[0].RollingSince != nil
	})
	stop()
	at.reports(t, appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}, corev1.ConditionFalse, "ProgressDeadlineExceeded")
	at.stamps += 2 // forth and back
}

// reports writes what the Deployment controller, which there is none of, would say of the present template.
func (at *tenant) reports(t *testing.T, status appsv1.DeploymentStatus, progressing corev1.ConditionStatus, reason string) {
	t.Helper()
	var d appsv1.Deployment
	must(t, at.cluster.Get(t.Context(), client.ObjectKey{Namespace: at.namespace, Name: "web"}, &d))
	status.ObservedGeneration = d.Generation
	status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: progressing, Reason: reason}}
	d.Status = status
	must(t, at.cluster.Status().Update(t.Context(), &d))
}

func (at *tenant) vaultSecret(t *testing.T) *vaultv1alpha1.VaultSecret {
	t.Helper()
	vs := &vaultv1alpha1.VaultSecret{}
	must(t, at.cluster.Get(t.Context(), client.ObjectKey{Namespace: at.namespace, Name: "database"}, vs))
	return vs
}

// wanted is the version that the Secret is to have.
func (at *tenant) wanted() int64 {
	if at.good != 0 {
		return at.good
	}
	return at.version
}

// refused returns what is not right with the refusal of the newest version, where a rollout of it failed.
func (at *tenant) refused(vs *vaultv1alpha1.VaultSecret) error {
	if at.good == 0 {
		return nil
	}
	rejected, ready := vs.Status.Rejected, meta.FindStatusCondition(vs.Status.Conditions, vaultv1alpha1.ConditionReady)
	if rejected == nil || len(rejected.Sources) != 1 || rejected.Sources[0].Version != at.version {
		return fmt.Errorf("refused is %+v, want version %d", rejected, at.version)
	}
	if ready == nil || ready.Reason != vaultv1alpha1.ReasonRolledBack {
		return fmt.Errorf("Ready is %+v", ready)
	}
	return nil
}

// retype is a cause: the Secret is to be of another type, which Kubernetes does not change.
func (at *tenant) retype(t *testing.T) {
	at.kind = map[bool]corev1.SecretType{true: corev1.SecretTypeBasicAuth, false: corev1.SecretTypeOpaque}[at.kind == corev1.SecretTypeOpaque]
	at.patch(t, fmt.Sprintf(`{"spec":{"target":{"type":%q}}}`, at.kind))
}

// rename is a cause: the Secret is to have another name, and the former one goes.
func (at *tenant) rename(t *testing.T) {
	at.name = map[bool]string{true: "former", false: "database"}[at.name == "database"]
	at.patch(t, fmt.Sprintf(`{"spec":{"target":{"name":%q}}}`, at.name))
}

// share is a cause: the right to the path is taken away, and given before when it was not there.
func (at *tenant) share(t *testing.T) {
	if !at.shared {
		at.update(t, at.access())
		at.await(t, "the Secret", func() bool {
			err := at.cluster.Get(t.Context(), client.ObjectKey{Namespace: at.namespace, Name: at.name}, &corev1.Secret{})
			return err == nil
		})
	}
	at.update(t, &secret.AccessPolicy{AllowedServices: []string{}, AllowedEnvironments: []string{"*"}})
	at.shared = false
}

func (at *tenant) update(t *testing.T, access *secret.AccessPolicy) {
	t.Helper()
	_, err := at.engine.Update(t.Context(), admin("update"), secret.UpdateRequest{Path: at.path, Access: access})
	must(t, err)
}

func (at *tenant) patch(t *testing.T, patch string) {
	t.Helper()
	vs := &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: at.namespace, Name: "database"}}
	must(t, at.cluster.Patch(t.Context(), vs, client.RawPatch("application/merge-patch+json", []byte(patch))))
}

// settled returns what is not yet as it should be.
func (at *tenant) settled(ctx context.Context) error {
	vs := &vaultv1alpha1.VaultSecret{}
	if err := at.cluster.Get(ctx, client.ObjectKey{Namespace: at.namespace, Name: "database"}, vs); err != nil {
		return err
	}
	var secrets corev1.SecretList
	if err := at.cluster.List(ctx, &secrets, client.InNamespace(at.namespace)); err != nil {
		return err
	}
	synced := meta.FindStatusCondition(vs.Status.Conditions, vaultv1alpha1.ConditionSynced)
	if synced == nil || vs.Status.ObservedGeneration != vs.Generation || (synced.Status == metav1.ConditionTrue) != at.shared {
		return fmt.Errorf("Synced is %+v of generation %d", synced, vs.Status.ObservedGeneration)
	}
	if !at.shared {
		if len(secrets.Items) > 0 || synced.Reason != vaultv1alpha1.ReasonDenied {
			return fmt.Errorf("%d Secrets, %s", len(secrets.Items), synced.Reason)
		}
		return nil
	}
	if len(secrets.Items) != 1 {
		return fmt.Errorf("%d Secrets", len(secrets.Items))
	}
	s := &secrets.Items[0]
	if got := versionIn(s); s.Name != at.name || s.Type != at.kind || got != at.wanted() || vs.Status.Version != at.wanted() {
		return fmt.Errorf("the Secret %s of type %s has version %d, the status says %d", s.Name, s.Type, got, vs.Status.Version)
	}
	if err := at.refused(vs); err != nil {
		return err
	}
	return at.stamped(ctx, s)
}

// stamped returns what is not right with the rollout: one stamp, of the present content, for each change. What it ran with
// before any had none, and has none again.
func (at *tenant) stamped(ctx context.Context, s *corev1.Secret) error {
	var d appsv1.Deployment
	if err := at.cluster.Get(ctx, client.ObjectKey{Namespace: at.namespace, Name: "web"}, &d); err != nil {
		return err
	}
	if d.Generation != 1+at.stamps {
		return fmt.Errorf("the Deployment was stamped %d times for %d changes", d.Generation-1, at.stamps)
	}
	stamp := d.Spec.Template.Annotations[vaultv1alpha1.StampAnnotationPrefix+s.Name]
	switch {
	case at.good != 0 && stamp != "":
		return errors.New("the Deployment is stamped, and its first template was not")
	case at.good == 0 && at.stamps > 0 && stamp != s.Annotations[vaultv1alpha1.ChecksumAnnotation]:
		return errors.New("the Deployment is stamped with other content")
	}
	return nil
}

// versionIn is the version that a Secret's value carries; 0 when it is none of ours.
func versionIn(s *corev1.Secret) int64 {
	n, _ := strconv.ParseInt(strings.TrimPrefix(string(s.Data["password"]), canary), 10, 64)
	return n
}

// watch notes every version that a Secret of the namespace is given.
func (at *tenant) watch(t *testing.T) {
	t.Helper()
	var err error
	at.watcher, err = at.cluster.Watch(t.Context(), &corev1.SecretList{}, client.InNamespace(at.namespace))
	must(t, err)
	go func() {
		defer close(at.ended)
		for event := range at.watcher.ResultChan() {
			if s, ok := event.Object.(*corev1.Secret); ok && event.Type != watch.Deleted {
				at.mu.Lock()
				at.held = append(at.held, versionIn(s))
				at.mu.Unlock()
			}
		}
	}()
}

// watched ends the watch, and says which Secret had no version of the path or went back to an older one, but for the good
// one: to that it goes back from a version of which the rollout failed, and never to such a version again.
func (at *tenant) watched(t *testing.T) (wrong []string) {
	t.Helper()
	at.watcher.Stop()
	<-at.ended
	last, newest := int64(1), int64(1)
	for _, version := range at.held {
		older := version != last && version <= newest
		if version < 1 || version > at.version || older && version != at.good {
			wrong = append(wrong, fmt.Sprintf("a Secret had version %d after %d, of %d", version, last, at.version))
		}
		last, newest = version, max(newest, version)
	}
	if len(at.held) == 0 {
		wrong = append(wrong, "no Secret was seen")
	}
	return wrong
}

// unaudited are the versions that a Secret had and that nobody was audited to have read.
func (at *tenant) unaudited(t *testing.T) (wrong []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at.dsn)
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	for _, version := range at.held {
		var rows int
		must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM audit WHERE path = $1 AND version = $2 AND action = 'read'
			AND decision = 'allowed' AND namespace = $3 AND caller = $4`, at.path.String(), version, at.namespace, at.namespace+"/"+account).Scan(&rows))
		if rows == 0 {
			wrong = append(wrong, fmt.Sprintf("version %d was in a Secret, and no row says that it was read", version))
		}
	}
	return wrong
}

// await polls until what is looked for is there.
func (at *tenant) await(t *testing.T, what string, there func() bool) {
	t.Helper()
	(&site{victim: at.victim, ended: make(chan struct{})}).until(t, what, convergeWithin, func() error {
		if !there() {
			return errors.New("not yet")
		}
		return nil
	})
}
