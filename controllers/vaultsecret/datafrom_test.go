package vaultsecret_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

const folder = "production/payments/"

// ofPrefix is a VaultSecret of what lies below folder.
func (w *world) ofPrefix(name string, renames ...vaultv1alpha1.VaultSecretRename) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	return w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) {
		s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{{Prefix: folder, Rename: renames}}
	})
}

func (w *world) remove(path string) {
	w.t.Helper()
	if err := w.vault.Engine.Delete(context.Background(), w.vault.Admin, vaulttest.Path(w.t, path)); err != nil {
		w.t.Fatal(err)
	}
}

// sources are the sources in the status, as path@version.
func sources(object *vaultv1alpha1.VaultSecret) []string {
	var list []string
	for _, source := range object.Status.Sources {
		list = append(list, fmt.Sprintf("%s@%d", source.Path, source.Version))
	}
	return list
}

// Many paths into one Secret, in order: path, dataFrom, data.
func TestManyPathsIntoOneSecret(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, `{"user":"app","password":"one"}`)
	w.put("production/payments/cache", `{"password":"two","host":"h"}`)
	w.put("production/shared/token", "old")
	w.put("production/shared/token", "three")
	object := w.vaultSecret("many", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{
			{Path: "production/payments/cache", Rename: []vaultv1alpha1.VaultSecretRename{{From: "^", To: "CACHE_"}}},
			{Path: "production/shared/token", Version: 1},
		}
		s.Data = []vaultv1alpha1.VaultSecretData{{Key: "user", Path: "production/shared/token"}}
	})
	w.holds("many", map[string]string{"user": "three", "password": "one", "CACHE_password": "two", "CACHE_host": "h", "value": "old"})
	w.ready(object)
	want := []string{database + "@1", "production/payments/cache@1", "production/shared/token@1", "production/shared/token@2"}
	if diff := cmp.Diff(want, sources(object)); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"CACHE_host", "CACHE_password", "password", "user", "value"}, object.Status.Target.Keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if object.Status.Path != database || object.Status.Version != 1 {
		t.Errorf("kubectl get shows %s version %d", object.Status.Path, object.Status.Version)
	}
	if got := op.engine.reads.Load(); got != 4 {
		t.Errorf("the vault was read %d times, want once for each of 4 versions", got)
	}
	w.rotate("production/payments/cache", `{"password":"2","host":"h"}`)
	w.holds("many", map[string]string{"user": "three", "password": "one", "CACHE_password": "2", "CACHE_host": "h", "value": "old"})
}

// A conflict says the key and both paths, writes nothing, and ends as the spec says.
func TestKeyConflict(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, `{"user":"app"}`)
	w.put("production/payments/other", `{"user":"other","host":"h"}`)
	object := w.vaultSecret("conflict", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{{Path: "production/payments/other"}}
	})
	said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonKeyConflict).Message
	for _, want := range []string{`"user"`, database, "production/payments/other", "onConflict"} {
		if !strings.Contains(said, want) {
			t.Errorf("the message %q does not say %q", said, want)
		}
	}
	if w.secret("conflict") != nil {
		t.Error("there is a Secret")
	}
	if object.Spec.DataFrom[0].OnConflict != "" {
		t.Error("the API server wrote a default into the spec")
	}
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.DataFrom[0].OnConflict = vaultv1alpha1.ConflictKeep })
	w.holds("conflict", map[string]string{"user": "app", "host": "h"})
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.DataFrom[0].OnConflict = vaultv1alpha1.ConflictReplace })
	w.holds("conflict", map[string]string{"user": "other", "host": "h"})
	w.ready(object)
	// A conflict that comes later leaves the Secret as it was.
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.DataFrom[0].OnConflict = vaultv1alpha1.ConflictFail })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonKeyConflict)
	w.holds("conflict", map[string]string{"user": "other", "host": "h"})
}

// What comes and goes below a prefix is followed, without a touch of the VaultSecret;
// what the account may not read is not there.
func TestPrefixIsFollowed(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, `{"user":"app","password":"one"}`)
	w.put(folder+"api/token", "t")
	w.vault.Put(t, folder+"hidden", "c4nary")
	w.put("production/payments-other/x", "elsewhere")
	object := w.ofPrefix("folder")
	want := map[string]string{"database_user": "app", "database_password": "one", "api_token": "t"}
	w.holds("folder", want)
	w.ready(object)
	if diff := cmp.Diff([]string{folder + "api/token@1", database + "@1"}, sources(object)); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	if object.Status.Path != folder || object.Status.Version != 0 {
		t.Errorf("kubectl get shows %s version %d", object.Status.Path, object.Status.Version)
	}

	w.put(folder+"a/b/c", "new")
	want["a_b_c"] = "new"
	w.holds("folder", want)
	w.rotate(folder+"api/token", "t2")
	want["api_token"] = "t2"
	w.holds("folder", want)
	w.remove(folder + "a/b/c")
	delete(want, "a_b_c")
	w.holds("folder", want)
	// Access to a single path is all the same.
	w.vault.PutShared(t, folder+"api/token", "t2", &secret.AccessPolicy{})
	delete(want, "api_token")
	w.holds("folder", want)
	policy := w.allow(folder + "hidden")
	want["hidden"] = "c4nary"
	w.holds("folder", want)
	w.delete(policy)
	delete(want, "hidden")
	w.holds("folder", want)
	w.ready(object)

	// A resync of a prefix opens nothing, writes nothing and is not audited.
	w.eventually(func() string {
		if s := w.secret("folder"); object.Status.Target.Checksum != s.Annotations[vaultv1alpha1.ChecksumAnnotation] {
			refreshed(w, object)
			return "the status is of another Secret"
		}
		return ""
	})
	reads, version, rows := op.engine.reads.Load(), w.secret("folder").ResourceVersion, w.operatorRows()
	w.refresh(object, "resync")
	if got := op.engine.reads.Load() - reads; got != 0 {
		t.Errorf("a resync read the vault %d times", got)
	}
	if w.secret("folder").ResourceVersion != version {
		t.Error("a resync wrote the Secret")
	}
	if got := w.operatorRows() - rows; got != 0 {
		t.Errorf("a resync wrote %d audit rows", got)
	}
}

// operatorRows counts the audit rows of the operator.
func (w *world) operatorRows() int {
	w.t.Helper()
	entries, _, err := w.vault.Engine.Audit(context.Background(), w.vault.Admin, audit.Query{PathPrefix: "production/", Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if e.Address == "operator" {
			n++
		}
	}
	return n
}

// refresh asks for a reconcile and waits until it is done.
func (w *world) refresh(object *vaultv1alpha1.VaultSecret, request string) {
	w.t.Helper()
	change(w, object, func(o *vaultv1alpha1.VaultSecret) {
		if o.Annotations == nil {
			o.Annotations = map[string]string{}
		}
		o.Annotations[vaultv1alpha1.RefreshAnnotation] = request
	})
	w.eventually(func() string {
		if got := refreshed(w, object).Status.LastRefreshRequest; got != request {
			return fmt.Sprintf("the last refresh request is %q, want %q", got, request)
		}
		return ""
	})
}

// A prefix below which nothing may be read looks like one below which nothing is, and
// takes the Secret away, by the deletion policy; both come back with the access.
func TestPrefixWithoutAnything(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.vault.Put(t, folder+"hidden", "v")
	hidden := w.ofPrefix("hidden")
	retained := w.vaultSecret("retained", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{{Prefix: folder}}
		s.DeletionPolicy = vaultv1alpha1.DeletionRetain
	})
	absent := w.vaultSecret("absent", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{{Prefix: "production/nothing/"}}
	})
	denied := w.conditionIs(hidden, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied).Message
	missing := w.conditionIs(absent, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied).Message
	if strings.ReplaceAll(denied, folder, "P/") != strings.ReplaceAll(missing, "production/nothing/", "P/") {
		t.Errorf("denied (%q) can be told from missing (%q)", denied, missing)
	}
	if !strings.Contains(denied, folder) || !strings.Contains(denied, w.namespace+"/api") {
		t.Errorf("the message %q names not both prefix and account", denied)
	}
	policy := w.allow(folder + "**")
	w.holds("hidden", map[string]string{"hidden": "v"})
	w.holds("retained", map[string]string{"hidden": "v"})
	w.delete(policy)
	w.isGone("hidden")
	w.conditionIs(hidden, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.conditionIs(retained, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.holds("retained", map[string]string{"hidden": "v"})

	// The first path below a prefix that had none is an event as well.
	w.put("production/nothing/first", "v")
	w.holds("absent", map[string]string{"first": "v"})
}

// Names become keys by rename; one that cannot is named, and rename is said.
func TestRenames(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(folder+"api/token", "t")
	w.put(folder+"db", `{"user":"app","pass word":"p"}`)
	object := w.ofPrefix("renamed")
	said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonInvalidSpec).Message
	if !strings.Contains(said, `"db_pass word"`) || !strings.Contains(said, folder+"db") || !strings.Contains(said, "rename") {
		t.Errorf("the message is %q", said)
	}
	change(w, object, func(o *vaultv1alpha1.VaultSecret) {
		o.Spec.DataFrom[0].Rename = []vaultv1alpha1.VaultSecretRename{{From: "^(api|db)/", To: "${1}."}, {From: " ", To: "-"}}
	})
	w.holds("renamed", map[string]string{"api.token": "t", "db.user": "app", "db.pass-word": "p"})
	w.ready(object)
}

// A prefix that gives too much is refused and says so. The status of many sources lists
// them all, so that the VaultSecret is known to have each, also after a restart.
func TestPrefixIsBounded(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	for i := range 256 {
		w.put(fmt.Sprintf("%sp%03d", folder, i), "v")
	}
	w.put("production/shared/token", "t")
	object := w.vaultSecret("bounded", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{{Path: "production/shared/token"}, {Prefix: folder}}
	})
	w.ready(object)
	if got := len(w.secret("bounded").Data); got != 257 {
		t.Errorf("the Secret has %d keys, want 257", got)
	}
	said := w.conditionIs(object, vaultv1alpha1.ConditionSynced, vaultv1alpha1.ReasonSynced).Message
	if len(object.Status.Sources) != 257 || !strings.Contains(said, "and 252 more") {
		t.Errorf("the status lists %d sources and says %q", len(object.Status.Sources), said)
	}
	last := folder + "p255"
	w.acknowledges(last, w.consumer(object, 1, "Synced", 0, 0))
	op.stop()
	op = w.startOperator()
	w.eventually(func() string {
		if op.engine.acknowledged.Load() == 0 {
			return "nothing was compared since the restart"
		}
		return ""
	})
	w.acknowledges(last, w.consumer(object, 1, "Synced", 0, 0))
	w.reconciled(op, object)
	reads := op.engine.reads.Load()
	w.put(folder+"one-more", "v")
	said = w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonInvalidSpec).Message
	if !strings.Contains(said, folder) || !strings.Contains(said, "more than 256 paths") {
		t.Errorf("the message is %q", said)
	}
	if got := op.engine.reads.Load() - reads; got != 0 {
		t.Errorf("the vault was read %d times for it", got)
	}
	if got := len(w.secret("bounded").Data); got != 257 {
		t.Errorf("the Secret has %d keys, want those of before", got)
	}
}

// A change wakes those that name the path or a prefix above it, and nobody else.
func TestChangeWakesByPrefix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Without VaultPolicies, as in TestRotationReachesOnlyItsUsers.
	w.vault.Sync(t, w.namespace)
	op := w.startOperatorOf(w.namespace, false)
	w.put(folder+"api/token", "t")
	w.put("production/other/x", "t")
	byFolder := w.ofPrefix("by-folder")
	above := w.vaultSecret("above", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{{Prefix: "production/"}}
	})
	w.ready(byFolder)
	w.ready(above)
	const others = 10
	for i := range others {
		w.ready(w.vaultSecret(fmt.Sprintf("other-%d", i), func(s *vaultv1alpha1.VaultSecretSpec) {
			s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{{Prefix: "production/other/"}}
		}))
	}
	// What the writes above and the first syncs left to look at comes before this.
	w.counted(op, "Synced", others+2)
	w.rotate("production/other/x", "u")
	w.counted(op, "Synced", others+2+others+1)
	w.holds("above", map[string]string{"payments_api_token": "t", "other_x": "u"})
	w.refresh(above, "settled")
	unchanged, synced := op.syncs(t, "Unchanged"), op.syncs(t, "Synced")
	w.rotate(folder+"api/token", "t2")
	w.holds("by-folder", map[string]string{"api_token": "t2"})
	w.holds("above", map[string]string{"payments_api_token": "t2", "other_x": "u"})
	w.counted(op, "Synced", synced+2)
	if got := op.syncs(t, "Unchanged") - unchanged + op.syncs(t, "Synced") - synced; got >= others {
		t.Errorf("one rotation made %d reconciles, with 2 users among %d VaultSecrets", got, others+2)
	}
}
