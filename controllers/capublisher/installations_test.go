package capublisher_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/capublisher"
)

// TestInstallationsLeaveEachOther: of two operators of the whole cluster, neither touches
// the original of the other, nor its copies, until they are handed over.
func TestInstallationsLeaveEachOther(t *testing.T) {
	east, west := newWorld(t, "east"), newWorld(t, "west")
	east.namespace("of-both", true)
	east.original("of the east")
	east.start(false)
	eventually(t, "the copy of the first", func() error { return east.holds("of-both", "of the east") })
	copied := east.copied("of-both")
	if diff := cmp.Diff(map[string]string{"app.kubernetes.io/managed-by": "coffer", "vault.coffer.dev/authority-of": "east"}, copied.Labels); diff != "" {
		t.Errorf("labels (-want +got)\n%s", diff)
	}
	original := west.original("of the west")
	west.start(false)
	eventually(t, "the Event of the second", func() error { return west.told("of-both") })
	if diff := cmp.Diff(copied, east.copied("of-both")); diff != "" {
		t.Errorf("the copy of the other was written (-want +got)\n%s", diff)
	}

	// One watch tells of all ConfigMaps, in order: when the edit is put right, the original of the other was looked at.
	copied.Data = nil
	if err := east.client.Update(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy to be put right", func() error { return east.holds("of-both", "of the east") })
	untouched := func(when string) {
		t.Helper()
		if diff := cmp.Diff(original, west.copied("west")); diff != "" {
			t.Errorf("%s, the original of the other was written (-want +got)\n%s", when, diff)
		}
	}
	untouched("once it is there")
	t.Cleanup(func() {
		if err := west.ask(context.Background(), "west", false); err != nil {
			t.Error(err)
		}
	})
	if err := west.ask(t.Context(), "west", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Event about the original", func() error { return east.told("west") })
	untouched("in a namespace that asks")

	handed := east.copied("of-both")
	handed.Labels[vaultv1alpha1.AuthorityOfLabel] = "west"
	if err := east.client.Update(t.Context(), handed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy that was handed over", func() error { return west.holds("of-both", "of the west") })
	eventually(t, "the Event about it", func() error { return east.told("of-both") })
}

// TestACopyIsNoOriginal: the authority of another installation, which came before this one
// was here, is not passed on as this one's.
func TestACopyIsNoOriginal(t *testing.T) {
	w := newWorld(t, "late")
	w.namespace("asks-the-late", true)
	theirs := w.original("theirs")
	theirs.Labels[vaultv1alpha1.AuthorityOfLabel] = "early"
	if err := w.client.Update(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.start(true) // so that there is a copy without an original, an empty one
	eventually(t, "an empty copy", func() error { return w.holds("asks-the-late", "") })
	w.original("ours")
	eventually(t, "ours", func() error { return w.holds("asks-the-late", "ours") })
	if object := w.copied(w.own); object.Data[capublisher.Key] != "ours" {
		t.Error("the original was written")
	}
}
