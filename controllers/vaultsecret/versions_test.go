package vaultsecret_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// onEvents makes a VaultSecret that no safety resync looks at: what happens to its
// Secret, an event brought about.
func (w *world) onEvents(name string, f func(*vaultv1alpha1.VaultSecretSpec)) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	return w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) {
		s.RefreshInterval = &metav1.Duration{}
		f(s)
	})
}

// shows waits until the Secret of object holds value and the status says that it is of
// the version.
func (w *world) shows(object *vaultv1alpha1.VaultSecret, value string, version int64) {
	w.t.Helper()
	w.holds(object.Name, map[string]string{"value": value})
	w.eventually(func() string {
		if refreshed(w, object).Status.Version != version {
			return fmt.Sprintf("the status says version %d, want %d", object.Status.Version, version)
		}
		return ""
	})
	w.ready(object)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A rollback takes the Secret, the status and the pods to the older version, and a
// promotion to the one that was pending; a pending version alone changes nothing.
func TestRollbackAndPromotion(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	engine, path := w.vault.Engine, vaulttest.Path(t, database)
	w.put(database, "one")
	w.put(database, "two")
	object := w.onEvents("payments", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database })
	workload := w.deployment("api", envFrom("payments"))
	w.rolledOut(workload)
	w.shows(object, "two", 2)

	_, err := engine.Rollback(t.Context(), w.vault.Admin, secret.Ref{Path: path}, nil)
	must(t, err)
	w.holds("payments", map[string]string{"value": "one"})
	w.stamped(workload, "payments")
	w.rolledOut(workload)
	w.shows(object, "one", 1)
	if event := w.hasEvent(object, "ContentChanged"); !strings.Contains(event, database+" version 1") {
		t.Errorf("the event %q does not say version 1", event)
	}

	reads, unchanged := op.engine.reads.Load(), op.syncs(t, "Unchanged")
	_, err = engine.Put(t.Context(), w.vault.Admin, secret.PutRequest{Path: path, Value: vaulttest.Value(t, "three"), Pending: true})
	must(t, err)
	w.eventually(func() string {
		if op.syncs(t, "Unchanged") == unchanged {
			return "the pending version was not looked at"
		}
		return ""
	})
	w.shows(object, "one", 1)
	if got := op.engine.reads.Load(); got != reads {
		t.Errorf("a pending version was read from the vault")
	}

	_, err = engine.Promote(t.Context(), w.vault.Admin, path, nil)
	must(t, err)
	w.holds("payments", map[string]string{"value": "three"})
	w.stamped(workload, "payments")
	w.rolledOut(workload)
	w.shows(object, "three", 3)
}

// A deleted path takes its Secret away, or leaves it with Retain, and an undeletion
// brings both back to where they were.
func TestDeletionAndUndeletion(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	engine, path := w.vault.Engine, vaulttest.Path(t, database)
	w.put(database, "one")
	deletes := w.onEvents("deletes", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database })
	retains := w.onEvents("retains", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.DeletionPolicy = vaultv1alpha1.DeletionRetain
	})
	w.shows(deletes, "one", 1)
	w.shows(retains, "one", 1)
	gone, kept := w.secret("deletes").UID, w.secret("retains").UID

	must(t, engine.Delete(t.Context(), w.vault.Admin, path))
	w.isGone("deletes")
	for _, object := range []*vaultv1alpha1.VaultSecret{deletes, retains} {
		w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
		w.hasEvent(object, vaultv1alpha1.ReasonDenied)
	}
	if deletes.Status.Version != 0 || retains.Status.Version != 1 {
		t.Errorf("after the deletion the statuses say versions %d (Delete) and %d (Retain), want 0 and 1", deletes.Status.Version, retains.Status.Version)
	}
	w.holds("retains", map[string]string{"value": "one"})

	_, err := engine.Undelete(t.Context(), w.vault.Admin, path)
	must(t, err)
	w.shows(deletes, "one", 1)
	w.shows(retains, "one", 1)
	if w.secret("deletes").UID == gone {
		t.Error("the Secret with Delete was never taken away")
	}
	if w.secret("retains").UID != kept {
		t.Error("the Secret with Retain was made anew")
	}
	for _, object := range []*vaultv1alpha1.VaultSecret{deletes, retains} {
		if object.Status.Target.ContentChangedAt != nil {
			t.Errorf("%s: the same content counts as changed, and would roll the workloads", object.Name)
		}
	}
}

// A pinned version that is deleted, then destroyed: each has a reason that says what
// to do, and the Secret stays until somebody does it.
func TestPinnedVersionGoes(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	engine, path := w.vault.Engine, vaulttest.Path(t, database)
	w.put(database, "one")
	w.put(database, "two")
	w.put("production/payments/other", "pinned too")
	object := w.onEvents("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Data = []vaultv1alpha1.VaultSecretData{
			{Key: "other", Path: "production/payments/other", Version: 1},
			{Key: "old", Path: database, Version: 1},
			{Key: "new", Path: database},
		}
	})
	content := map[string]string{"other": "pinned too", "old": "one", "new": "two"}
	w.holds("payments", content)
	w.ready(object)
	says := func(reason string, wants ...string) {
		t.Helper()
		ready := w.conditionIs(object, vaultv1alpha1.ConditionReady, reason)
		for _, want := range append(wants, database+" version 1", "spec.data") {
			if !strings.Contains(ready.Message, want) {
				t.Errorf("the message %q does not say %q", ready.Message, want)
			}
		}
		if strings.Contains(ready.Message, "production/payments/other") {
			t.Errorf("the message %q names a version that is well", ready.Message)
		}
		w.hasEvent(object, reason)
		w.holds("payments", content)
	}

	must(t, engine.DeleteVersions(t.Context(), w.vault.Admin, path, 1))
	says(vaultv1alpha1.ReasonVersionDeleted, "coffer undelete "+database+" --version 1")
	must(t, engine.UndeleteVersions(t.Context(), w.vault.Admin, path, 1))
	w.ready(object)
	must(t, engine.DestroyVersions(t.Context(), w.vault.Admin, path, 1))
	says(vaultv1alpha1.ReasonVersionDestroyed, "gone for good", "0 for the current one")

	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Data[1].Version = 0 })
	w.holds("payments", map[string]string{"other": "pinned too", "old": "two", "new": "two"})
	w.ready(object)
}

// Who may read changes without a new version: the Secret goes and comes back by the
// event alone, since the VaultSecret has no safety resync.
func TestUpdateTakesTheRightAway(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.onEvents("payments", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database })
	w.shows(object, "one", 1)
	first := w.secret("payments").UID

	w.update(secret.UpdateRequest{Access: &secret.AccessPolicy{}})
	w.isGone("payments")
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)

	// With other metadata in the same update.
	w.update(secret.UpdateRequest{Access: w.share(), Description: new("shared again")})
	w.shows(object, "one", 1)
	if w.secret("payments").UID == first {
		t.Error("the Secret was never taken away")
	}
	w.update(secret.UpdateRequest{Access: &secret.AccessPolicy{}, Description: new("not shared any more")})
	w.isGone("payments")
}

func (w *world) update(req secret.UpdateRequest) {
	w.t.Helper()
	req.Path = vaulttest.Path(w.t, database)
	if _, err := w.vault.Engine.Update(w.t.Context(), w.vault.Admin, req); err != nil {
		w.t.Fatal(err)
	}
}

// writes counts the requests of an operator that change something in the cluster.
type writes struct {
	next  http.RoundTripper
	count *atomic.Int64
}

func (c writes) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/events") { // sent from the side: one of the start may come late
		return c.next.RoundTrip(r)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		c.count.Add(1)
	}
	return c.next.RoundTrip(r)
}

// A description is nothing to a Secret: each change of it is looked at, and writes
// and reads nothing.
func TestUpdateOfDescriptionWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var written atomic.Int64
	w.config = rest.CopyConfig(w.config)
	w.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return writes{next, &written} })
	op := w.startOperator()
	w.put(database, "one")
	object := w.onEvents("payments", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database })
	w.shows(object, "one", 1)
	looks := func(atLeast int) {
		t.Helper()
		w.eventually(func() string {
			if got := op.syncs(t, "Unchanged"); got < atLeast {
				return fmt.Sprintf("the VaultSecret was looked at %d times, want %d", got, atLeast)
			}
			return ""
		})
	}
	w.refresh(object, "settled") // what the first sync may have left to look at comes before it
	version, status := w.secret("payments").ResourceVersion, refreshed(w, object).ResourceVersion
	before, reads := written.Load(), op.engine.reads.Load()
	if before == 0 {
		t.Fatal("the first sync's writes were not counted")
	}
	// Several, since a look may be the last of the first sync.
	for i := range 5 {
		seen := op.syncs(t, "Unchanged")
		w.update(secret.UpdateRequest{
			Description: new(fmt.Sprintf("description %d", i)), Tags: map[string]string{"change": fmt.Sprint(i)},
		})
		looks(seen + 1)
	}
	if got := written.Load() - before; got != 0 {
		t.Errorf("changes of the description made %d writes to the API server", got)
	}
	if got := op.engine.reads.Load() - reads; got != 0 {
		t.Errorf("changes of the description made %d reads of the value", got)
	}
	if w.secret("payments").ResourceVersion != version || refreshed(w, object).ResourceVersion != status {
		t.Error("the Secret or the VaultSecret was written")
	}
	ofTheStart := []string{vaultv1alpha1.ReasonDenied, vaultv1alpha1.ReasonVaultUnavailable, vaultv1alpha1.ReasonSynced}
	for _, said := range w.events(object) {
		if reason, _, _ := strings.Cut(said, ":"); !slices.Contains(ofTheStart, reason) {
			t.Errorf("an event tells of a description: %s", said)
		}
	}
}

// named notes the requests of an operator that changed something in the cluster, without
// events. One that lost a race (409) changed nothing.
type named struct {
	next http.RoundTripper
	mu   *sync.Mutex
	all  *[]string
}

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := n.next.RoundTrip(r)
	if r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/events") || err == nil && response.StatusCode == http.StatusConflict {
		return response, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	*n.all = append(*n.all, r.Method+" "+r.URL.Path)
	return response, err
}

// A first sync writes the Secret and the status, each once, and looks that find nothing
// to do write nothing.
func TestWritesOfFirstSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(database, "one")
	var mu sync.Mutex
	var all []string
	w.config = rest.CopyConfig(w.config)
	w.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return named{next, &mu, &all} })
	op := w.startOperator()
	awaits(op.synced) // a sync before is refused, and its status says so
	object := w.onEvents("payments", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database })
	w.shows(object, "one", 1)
	want := []string{
		"POST /api/v1/namespaces/" + w.namespace + "/secrets",
		"PUT /apis/vault.coffer.dev/v1alpha1/namespaces/" + w.namespace + "/vaultsecrets/payments/status",
	}
	written := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
	w.eventually(func() string { // what the API server shows may be noted a moment later
		if got := written(); len(got) < len(want) {
			return fmt.Sprintf("%q were sent", got)
		}
		return ""
	})
	if diff := cmp.Diff(want, written()); diff != "" {
		t.Errorf("first sync (-want +got):\n%s", diff)
	}
	// The first of these looks may be the one that its own Secret and status bring about.
	for range 3 {
		w.reconciled(op, object)
	}
	op.stop()
	if diff := cmp.Diff(want, written()); diff != "" {
		t.Errorf("with the resyncs (-want +got):\n%s", diff)
	}
}
