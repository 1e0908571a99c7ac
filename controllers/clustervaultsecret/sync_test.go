package clustervaultsecret_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// Every namespace of the selector gets the VaultSecret and with it the Secret, and no
// other; the status says what became of each.
func TestMatchingNamespaces(t *testing.T) {
	w := newWorld(t)
	a, b, other := w.namespace(w.team, "api"), w.namespace(w.team, "api"), w.namespace("none", "api")
	w.put("one", a, b, other)
	w.startOperator()
	object := w.clusterVaultSecret("registry")
	c := w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced", b+": Synced")
	if c.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %s", c.Status)
	}
	for _, namespace := range []string{a, b} {
		w.holds(namespace, "registry", "one")
		child := w.child(namespace, "registry")
		want := []metav1.OwnerReference{{
			APIVersion: "vault.coffer.dev/v1alpha1", Kind: "ClusterVaultSecret", Name: "registry", UID: object.UID,
			Controller: new(true), BlockOwnerDeletion: new(false),
		}}
		if diff := cmp.Diff(want, child.OwnerReferences); diff != "" {
			t.Errorf("owners (-want +got):\n%s", diff)
		}
		if child.Labels[vaultv1alpha1.ManagedByLabel] != vaultv1alpha1.ManagedByValue {
			t.Errorf("labels are %v", child.Labels)
		}
		// Nothing waits for coffer when it, its namespace or its owner is removed.
		if len(child.Finalizers)+len(object.Finalizers) != 0 {
			t.Errorf("finalizers are %q and %q", child.Finalizers, object.Finalizers)
		}
	}
	if w.child(other, "registry") != nil {
		t.Error("a namespace that the selector does not match has the VaultSecret")
	}
	w.put("two", a, b, other)
	w.holds(a, "registry", "two")
	w.holds(b, "registry", "two")
}

// A namespace that comes, or is labelled, gets the VaultSecret; one that has lost the
// label loses it.
func TestNamespacesComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	object := w.clusterVaultSecret("registry")
	if c := w.outcomes(object, vaultv1alpha1.ReasonNoNamespaces); c.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %s", c.Status)
	}
	early := w.namespace("none", "api")
	late := w.namespace(w.team, "api")
	w.put("one", early, late)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, late+": Synced")
	w.relabel(early, w.team)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, late+": Synced", early+": Synced")
	w.relabel(late, "none")
	w.goes(late, "registry")
	w.outcomes(object, vaultv1alpha1.ReasonSynced, early+": Synced")
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) {
		o.Spec.NamespaceSelector.MatchLabels[teamLabel] = "nobody"
	})
	w.goes(early, "registry")
	w.outcomes(object, vaultv1alpha1.ReasonNoNamespaces)
}

// A namespace that is being deleted gets nothing and is no error, and it goes without
// anybody's help.
func TestTerminatingNamespace(t *testing.T) {
	w := newWorld(t)
	with, without, stays := w.namespace(w.team, "api"), w.namespace("none", "api"), w.namespace(w.team, "api")
	w.put("one", with, without, stays)
	op := w.startOperator()
	object := w.clusterVaultSecret("registry")
	w.outcomes(object, vaultv1alpha1.ReasonSynced, with+": Synced", stays+": Synced")

	// Nobody finishes the deletion of a namespace here: it stays Terminating.
	for _, namespace := range []string{with, without} {
		w.delete(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	w.outcomes(object, vaultv1alpha1.ReasonSynced, stays+": Synced")
	w.relabel(without, w.team)
	// What the namespace controller deletes is not made anew.
	w.delete(w.child(with, "registry"))
	last := w.namespace(w.team, "api")
	w.put("one", with, without, stays, last)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, stays+": Synced", last+": Synced")
	op.reconcile(t, object)
	for _, namespace := range []string{with, without} {
		if w.child(namespace, "registry") != nil {
			t.Errorf("%s has the VaultSecret, and is being deleted", namespace)
		}
	}
	if writes := slices.DeleteFunc(w.writes.of(), func(s string) bool {
		return !strings.Contains(s, without) && !strings.HasPrefix(s, "DELETE")
	}); len(writes) > 0 {
		t.Errorf("writes into a namespace that is being deleted: %q", writes)
	}
	if strings.Contains(op.logs.String(), "Reconciler error") {
		t.Error("the operator logged an error of a reconcile")
	}
}

// A VaultSecret of the name that is somebody else's is not touched; when it goes, its
// place is taken.
func TestForeignVaultSecretIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	taken, free := w.namespace(w.team, "api"), w.namespace(w.team, "api")
	w.put("one", taken, free)
	foreign := &vaultv1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Namespace: taken, Name: "registry"},
		Spec:       vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: "production/other"},
	}
	w.create(foreign)
	w.startOperator()
	object := w.clusterVaultSecret("registry")
	c := w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, taken+": VaultSecretNotOwned", free+": Synced")
	if want := "not ready in 1 of 2 namespaces: " + taken + " (VaultSecretNotOwned)"; c.Status != metav1.ConditionFalse || c.Message != want {
		t.Errorf("Ready is %s: %s", c.Status, c.Message)
	}
	if first := object.Status.Namespaces[0]; first.Namespace != taken || !strings.Contains(first.Message, "delete it, or set another spec.template.metadata.name") {
		t.Errorf("the first outcome is %+v", first)
	}
	if now := w.child(taken, "registry"); now.Generation != foreign.Generation || len(now.OwnerReferences)+len(now.Labels) > 0 {
		t.Errorf("it was changed: %+v", now.ObjectMeta)
	}
	w.delete(foreign)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, taken+": Synced", free+": Synced")

	// Of two ClusterVaultSecrets of one name in the template the first keeps it, and the
	// second does not take its VaultSecrets away.
	second := w.clusterVaultSecret("second", func(s *vaultv1alpha1.ClusterVaultSecretSpec) { s.Template.Metadata.Name = "registry" })
	w.outcomes(second, vaultv1alpha1.ReasonNamespacesNotReady, taken+": VaultSecretNotOwned", free+": VaultSecretNotOwned")
	w.delete(second)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, taken+": Synced", free+": Synced")
}

// What is edited by hand in a VaultSecret is put back, a deleted one made anew; what
// others add to its labels stays.
func TestHandEditIsPutBack(t *testing.T) {
	w := newWorld(t)
	namespace := w.namespace(w.team, "api")
	w.put("one", namespace)
	w.startOperator()
	object := w.clusterVaultSecret("registry", func(s *vaultv1alpha1.ClusterVaultSecretSpec) {
		s.Template.Metadata.Labels = map[string]string{"team": "platform", "tier": "one"}
		s.Template.Metadata.Annotations = map[string]string{"note": "a"}
	})
	w.outcomes(object, vaultv1alpha1.ReasonSynced, namespace+": Synced")
	right := w.child(namespace, "registry")
	isRight := func(labels map[string]string) {
		t.Helper()
		w.eventually(func() string {
			child := w.child(namespace, "registry")
			if child == nil {
				return "there is none"
			}
			if diff := cmp.Diff(right.Spec, child.Spec) + cmp.Diff(labels, child.Labels) + cmp.Diff("a", child.Annotations["note"]) +
				cmp.Diff(right.OwnerReferences, child.OwnerReferences); diff != "" {
				return diff
			}
			return ""
		})
	}
	added := map[string]string{"team": "platform", "tier": "one", "app.kubernetes.io/managed-by": "coffer", "mine": "x"}
	change(w, right.DeepCopy(), func(child *vaultv1alpha1.VaultSecret) {
		child.Spec.Path = "production/other"
		child.Spec.Suspend = true
		child.Spec.Target.Labels = map[string]string{"a": "b"}
		child.Labels = map[string]string{"team": "wrong", "mine": "x"}
		child.Annotations["note"] = "b"
	})
	isRight(added)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, namespace+": Synced")

	// What the template names no more goes, and what others put there stays.
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { delete(o.Spec.Template.Metadata.Labels, "tier") })
	delete(added, "tier")
	isRight(added)

	before := w.child(namespace, "registry")
	w.delete(before)
	delete(added, "mine")
	isRight(added)
	if w.child(namespace, "registry").UID == before.UID {
		t.Error("it was not deleted")
	}
	w.collectGarbage(before)

	// Without the owner it is no longer ours to write.
	w.outcomes(object, vaultv1alpha1.ReasonSynced, namespace+": Synced")
	change(w, w.child(namespace, "registry"), func(child *vaultv1alpha1.VaultSecret) { child.OwnerReferences = nil })
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, namespace+": VaultSecretNotOwned")
}

// The template's spec reaches the VaultSecrets whole, and so does each change of it;
// another name makes new ones and takes the old away.
func TestTemplateChanges(t *testing.T) {
	w := newWorld(t)
	a, b := w.namespace(w.team, "api"), w.namespace(w.team, "api")
	w.put("one", a, b)
	w.startOperator()
	object := w.clusterVaultSecret("registry")
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced", b+": Synced")
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) {
		o.Spec.Template.Spec.Target = vaultv1alpha1.VaultSecretTarget{Name: "pull", Labels: map[string]string{"a": "b"}, Template: map[string]string{"value": "<{{ .value }}>"}}
		o.Spec.Template.Spec.DeletionPolicy = vaultv1alpha1.DeletionRetain
	})
	for _, namespace := range []string{a, b} {
		w.holds(namespace, "pull", "<one>")
	}
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced", b+": Synced")
	for _, namespace := range []string{a, b} {
		if diff := cmp.Diff(object.Spec.Template.Spec, w.child(namespace, "registry").Spec); diff != "" {
			t.Errorf("spec (-template +got):\n%s", diff)
		}
	}
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) {
		o.Spec.Template.Metadata.Name = "pull.secret"
		o.Spec.Template.Spec.Target.Name = "second"
	})
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced", b+": Synced")
	for _, namespace := range []string{a, b} {
		w.comes(namespace, "pull.secret")
		w.goes(namespace, "registry")
		w.holds(namespace, "second", "<one>")
	}
}

// Each namespace's outcome is that of its VaultSecret, and follows it.
func TestOutcomesFollowTheVaultSecrets(t *testing.T) {
	w := newWorld(t)
	good, denied, empty := w.namespace(w.team, "api"), w.namespace(w.team, "api"), w.namespace(w.team)
	w.put("one", good, empty)
	w.startOperator()
	object := w.clusterVaultSecret("registry")
	c := w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, good+": Synced", denied+": Denied", empty+": ServiceAccountNotFound")
	if c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "2 of 3 namespaces") {
		t.Errorf("Ready is %s: %s", c.Status, c.Message)
	}
	if last := object.Status.Namespaces[2]; last.Namespace != good || last.Message != "" {
		t.Errorf("the last outcome is %+v, want the one that is ready, without a message", last)
	}
	for _, o := range object.Status.Namespaces[:2] {
		if !strings.Contains(o.Message, o.Namespace+"/api") || len(o.Message) > 256 {
			t.Errorf("the outcome of %s says %q", o.Namespace, o.Message)
		}
	}
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: empty, Name: "api"}})
	w.put("one", good, denied, empty)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, good+": Synced", denied+": Synced", empty+": Synced")
	w.put("one", good)
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, good+": Synced", denied+": Denied", empty+": Denied")
}

// A first sync of a namespace takes two writes, a rotation, a resync and a restart
// none.
func TestWrites(t *testing.T) {
	w := newWorld(t)
	namespace := w.namespace(w.team, "api")
	w.put("one", namespace)
	op := w.startOperator()
	object := w.clusterVaultSecret("registry")
	w.outcomes(object, vaultv1alpha1.ReasonSynced, namespace+": Synced")
	want := []string{
		"POST /apis/vault.coffer.dev/v1alpha1/namespaces/" + namespace + "/vaultsecrets",
		"PATCH /apis/vault.coffer.dev/v1alpha1/clustervaultsecrets/registry/status",
	}
	if diff := cmp.Diff(want, w.writes.of()); diff != "" {
		t.Errorf("first sync (-want +got):\n%s", diff)
	}

	version := w.child(namespace, "registry").ResourceVersion
	w.put("two", namespace)
	w.eventually(func() string { // until the reconcile of the rotation has ended
		if w.child(namespace, "registry").ResourceVersion == version {
			return "the VaultSecret has not noted the rotation"
		}
		return ""
	})
	op.reconcile(t, object)
	op.stop()
	op = w.startOperator()
	// Its cache has to be filled first; the client blocks until it is.
	w.clusterVaultSecret("other", func(s *vaultv1alpha1.ClusterVaultSecretSpec) {
		s.NamespaceSelector.MatchLabels[teamLabel] = "nobody"
	})
	w.eventually(func() string {
		for _, write := range w.writes.of() {
			if strings.HasSuffix(write, "/other/status") {
				return ""
			}
		}
		return "the new operator has not written its first status"
	})
	op.reconcile(t, object)
	want = append(want, "PATCH /apis/vault.coffer.dev/v1alpha1/clustervaultsecrets/other/status")
	if diff := cmp.Diff(want, w.writes.of()); diff != "" {
		t.Errorf("rotation, resync and restart (-want +got):\n%s", diff)
	}

	// A namespace that joins takes two as well.
	second := w.namespace("none", "api")
	w.put("two", namespace, second)
	w.relabel(second, w.team)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, namespace+": Synced", second+": Synced")
	if got := w.writes.of()[len(want):]; len(got) != 2 {
		t.Errorf("a namespace that joins took %d writes: %q", len(got), got)
	}
}

// Many namespaces are written once each. The status waits for the outcomes of all that
// are new, and gathers those that change together.
func TestManyNamespaces(t *testing.T) {
	w := newWorld(t)
	const count = 40
	var namespaces []string
	for range count {
		namespaces = append(namespaces, w.namespace(w.team, "api"))
	}
	w.put("one", namespaces...)
	w.startOperator()
	start := time.Now()
	object := w.clusterVaultSecret("registry")
	all := func(reason string) (outcomes []string) {
		for _, namespace := range namespaces {
			outcomes = append(outcomes, namespace+": "+reason)
		}
		return outcomes
	}
	w.outcomes(object, vaultv1alpha1.ReasonSynced, all(vaultv1alpha1.ReasonSynced)...)
	created, statuses := w.creationsAndStatuses()
	most := 1
	if time.Since(start) > 30*time.Second { // which is how long it waits
		most = count / 4
	}
	if created != count || statuses > most {
		t.Errorf("%d VaultSecrets were created and the status written %d times", created, statuses)
	}

	start = time.Now()
	w.put("one")
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, all(vaultv1alpha1.ReasonDenied)...)
	_, again := w.creationsAndStatuses()
	if seconds := int(time.Since(start).Seconds()); again-statuses > 1+seconds { // one a second
		t.Errorf("when all namespaces were denied the status was written %d times in %d s", again-statuses, seconds)
	}
}

// creationsAndStatuses counts the VaultSecrets that were made and the writes of the
// ClusterVaultSecret's status.
func (w *world) creationsAndStatuses() (created, statuses int) {
	for _, write := range w.writes.of() {
		switch {
		case strings.HasPrefix(write, "POST "):
			created++
		case strings.HasSuffix(write, "/status"):
			statuses++
		}
	}
	return created, statuses
}

// What the API server refuses is said of the namespace, without its words, and ends when
// the template is corrected.
func TestRefusedVaultSecret(t *testing.T) {
	w := newWorld(t)
	namespace := w.namespace(w.team, "api")
	w.put("one", namespace)
	op := w.startOperator()
	object := w.clusterVaultSecret("registry", func(s *vaultv1alpha1.ClusterVaultSecretSpec) {
		s.Template.Metadata.Labels = map[string]string{"team": "no label's value"}
	})
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, namespace+": VaultSecretWriteFailed")
	if message := object.Status.Namespaces[0].Message; !strings.Contains(message, "correct spec.template") || strings.Contains(message, "no label's") {
		t.Errorf("the message is %q", message)
	}
	if !strings.Contains(op.logs.String(), "metadata.labels") {
		t.Error("the log does not say what the API server refused")
	}
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { o.Spec.Template.Metadata.Labels["team"] = "platform" })
	w.outcomes(object, vaultv1alpha1.ReasonSynced, namespace+": Synced")
}

// What a ClusterVaultSecret that is being deleted has is left to the garbage
// collector, and nothing is made for it.
func TestDeletion(t *testing.T) {
	w := newWorld(t)
	a := w.namespace(w.team, "api")
	w.put("one", a)
	op := w.startOperator()
	object := w.clusterVaultSecret("registry")
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced")
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { o.Finalizers = []string{"example.com/waits"} })
	w.delete(object) // held by somebody else's finalizer
	late := w.namespace(w.team, "api")
	w.put("one", a, late)
	// Another sees the late namespace, so the first has been asked as well.
	other := w.clusterVaultSecret("other", func(s *vaultv1alpha1.ClusterVaultSecretSpec) { s.Template.Spec.Target.Name = "other" })
	w.outcomes(other, vaultv1alpha1.ReasonSynced, a+": Synced", late+": Synced")
	op.reconcile(t, object)
	if w.child(late, "registry") != nil {
		t.Error("a VaultSecret was made for a ClusterVaultSecret that is being deleted")
	}
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { o.Finalizers = nil })
	w.eventually(func() string {
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err == nil {
			return "it is still there"
		}
		return ""
	})
	op.reconcile(t, object)
}

// The API server itself keeps a status of more namespaces than are listed, with the
// longest messages.
func TestLargestStatusIsAccepted(t *testing.T) {
	w := newWorld(t)
	object := w.clusterVaultSecret("registry")
	for i := range vaultv1alpha1.MaxNamespaceOutcomes {
		object.Status.Namespaces = append(object.Status.Namespaces, vaultv1alpha1.NamespaceOutcome{
			Namespace: fmt.Sprintf("%063d", i), Reason: vaultv1alpha1.ReasonServiceAccountNotFound, Message: strings.Repeat("m", 256),
		})
	}
	if err := w.client.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 150<<10 {
		t.Errorf("it takes %d bytes, more than MaxNamespaceOutcomes promises", len(text))
	}
}
