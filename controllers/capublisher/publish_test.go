package capublisher_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/capublisher"
)

// TestPublishedWhereItIsAskedFor goes through what may happen to a copy: it is made, put
// right after an edit of any kind, renewed, and taken away.
func TestPublishedWhereItIsAskedFor(t *testing.T) {
	w := newWorld(t, "publishing")
	w.namespace("asks", true)
	w.namespace("asks-later", false)
	w.start(false)
	original := w.original("first") // after the namespace: it was not known when that asked
	eventually(t, "the copy", func() error { return w.holds("asks", "first") })
	if err := w.gone("asks-later"); err != nil {
		t.Error("a namespace that does not ask: ", err)
	}
	if diff := cmp.Diff(original.ObjectMeta, w.copied(w.own).ObjectMeta); diff != "" {
		t.Errorf("the original was written (-want +got)\n%s", diff)
	}

	for name, edit := range map[string]func(*corev1.ConfigMap){
		"another authority": func(c *corev1.ConfigMap) { c.Data[capublisher.Key] = "mallory" },
		"a further key":     func(c *corev1.ConfigMap) { c.Data["token"] = "mallory" },
		"binary data":       func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{"token": {1}} },
		"no data":           func(c *corev1.ConfigMap) { c.Data = nil },
		"made immutable":    func(c *corev1.ConfigMap) { c.Immutable, c.Data[capublisher.Key] = new(true), "mallory" },
	} {
		object := w.copied("asks")
		edit(object)
		if err := w.client.Update(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		eventually(t, name+" to be put right", func() error { return w.holds("asks", "first") })
	}
	labelled := w.copied("asks")
	labelled.Labels["team"] = "payments"
	if err := w.client.Update(t.Context(), labelled); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Delete(t.Context(), labelled); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deleted copy to come back", func() error { return w.holds("asks", "first") })

	if err := w.ask(t.Context(), "asks-later", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy of a label that comes later", func() error { return w.holds("asks-later", "first") })
	w.original("second")
	for _, namespace := range []string{"asks", "asks-later"} {
		eventually(t, "the renewal in "+namespace, func() error { return w.holds(namespace, "second") })
	}
	if err := w.ask(t.Context(), "asks", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy to go with the label", func() error { return w.gone("asks") })
	if err := w.holds("asks-later", "second"); err != nil {
		t.Error(err)
	}
}

// TestWithdrawnAfterARestart: a label that went while no operator ran is noticed.
func TestWithdrawnAfterARestart(t *testing.T) {
	w := newWorld(t, "restarting")
	w.original("first")
	w.namespace("asked", true)
	stop := w.start(false)
	eventually(t, "the copy", func() error { return w.holds("asked", "first") })
	stop()
	if err := w.ask(t.Context(), "asked", false); err != nil {
		t.Fatal(err)
	}
	w.start(false)
	eventually(t, "the copy to go", func() error { return w.gone("asked") })
}

// TestConfigMapsOfOthersAreLeft, whether their namespace asks or not, until their owner
// hands them over or deletes them; an Event says so.
func TestConfigMapsOfOthersAreLeft(t *testing.T) {
	w := newWorld(t, "beside-others")
	theirs := func(namespace string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: capublisher.ConfigMapName}, Data: map[string]string{capublisher.Key: "theirs"},
		}
	}
	for namespace, asking := range map[string]bool{"handed-over": true, "deleted": true, "never-asked": false, "sentinel": true} {
		w.namespace(namespace, asking)
	}
	w.create(theirs("handed-over"), theirs("deleted"), theirs("never-asked"))
	w.original("ours")
	w.start(false)
	for _, namespace := range []string{"handed-over", "deleted"} {
		eventually(t, "the Event in "+namespace, func() error { return w.told(namespace) })
	}
	// One watch tells of all ConfigMaps, in order: when the last edit is put right, the one before was looked at.
	eventually(t, "the sentinel", func() error { return w.holds("sentinel", "ours") })
	if err := w.client.Patch(t.Context(), theirs("never-asked"), client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"labels": {"a": "b"}}}`))); err != nil {
		t.Fatal(err)
	}
	edited := w.copied("sentinel")
	edited.Data = nil
	if err := w.client.Update(t.Context(), edited); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sentinel to be put right", func() error { return w.holds("sentinel", "ours") })
	for _, namespace := range []string{"handed-over", "deleted", "never-asked"} {
		if object := w.copied(namespace); object == nil || object.Data[capublisher.Key] != "theirs" {
			t.Errorf("%s has %v", namespace, object)
		}
	}

	object := w.copied("handed-over")
	object.Labels = map[string]string{vaultv1alpha1.AuthorityOfLabel: w.own}
	if err := w.client.Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Delete(t.Context(), theirs("deleted")); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"handed-over", "deleted"} {
		eventually(t, "ours in "+namespace, func() error { return w.holds(namespace, "ours") })
	}
}

// told returns nil when an Event of the namespace says what to do.
func (w *world) told(namespace string) error {
	var found eventsv1.EventList
	if err := w.client.List(w.t.Context(), &found, client.InNamespace(namespace)); err != nil {
		return err
	}
	for _, event := range found.Items {
		if event.Reason == "ConfigMapNotOwned" && event.Regarding.Name == capublisher.ConfigMapName &&
			strings.Contains(event.Note, "kubectl label --overwrite configmap -n "+namespace+" coffer-ca vault.coffer.dev/authority-of="+w.own) {
			return nil
		}
	}
	return fmt.Errorf("among %d Events there is none", len(found.Items))
}

// TestSuppliedCertificate: without an authority the ConfigMap is there all the same, since
// pods wait for it; with one it has that.
func TestSuppliedCertificate(t *testing.T) {
	w := newWorld(t, "supplied")
	w.namespace("asks-supplied", true)
	w.start(true)
	eventually(t, "the empty copy", func() error {
		object := w.copied("asks-supplied")
		if object == nil || len(object.Data) > 0 {
			return errors.New("it is not there, or holds something")
		}
		return nil
	})
	w.original("supplied")
	eventually(t, "the authority", func() error { return w.holds("asks-supplied", "supplied") })
	if err := w.client.Delete(t.Context(), w.copied(w.own)); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	eventually(t, "the empty copy again", func() error {
		if object := w.copied("asks-supplied"); object == nil || len(object.Data) > 0 {
			return errors.New("it is not there, or holds something")
		}
		return nil
	})
}
