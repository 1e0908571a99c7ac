package vaultsecret

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func versionsOf(a, b int64) []vaultv1alpha1.SourceVersion {
	return []vaultv1alpha1.SourceVersion{{Path: "p/a", Version: a}, {Path: "p/b", Version: b}}
}

// What ends a refusal, and what does not.
func TestReleased(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*vaultv1alpha1.VaultSecret)
		present []vaultv1alpha1.SourceVersion
		want    bool
	}{
		"nothing is new":       {nil, versionsOf(2, 1), false},
		"a newer one":          {nil, versionsOf(3, 1), true},
		"a newer one of other": {nil, versionsOf(2, 2), true},
		"the one before":       {nil, versionsOf(1, 1), true},
		"a path less":          {nil, versionsOf(2, 1)[:1], true},
		"a path more":          {nil, append(versionsOf(2, 1), vaultv1alpha1.SourceVersion{Path: "p/c", Version: 1}), true},
		"the spec":             {func(o *vaultv1alpha1.VaultSecret) { o.Generation++ }, versionsOf(2, 1), true},
		"asked for": {func(o *vaultv1alpha1.VaultSecret) {
			o.Annotations = map[string]string{vaultv1alpha1.RefreshAnnotation: "later"}
		}, versionsOf(2, 1), true},
		"another annotation": {func(o *vaultv1alpha1.VaultSecret) { o.Annotations["other"] = "x" }, versionsOf(2, 1), false},
	} {
		object := &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{
			Generation: 4, Annotations: map[string]string{vaultv1alpha1.RefreshAnnotation: "then"},
		}}
		object.Status.Rejected = &vaultv1alpha1.RejectedContent{Sources: versionsOf(2, 1), Generation: 4, RefreshRequest: "then"}
		if test.change != nil {
			test.change(object)
		}
		if got := released(object, test.present); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Old versions take the place of what the spec names, which keeps its pins, and of what
// prefixes gave; not where the spec named something else.
func TestGoodRefs(t *testing.T) {
	path := func(s string) secret.Path {
		p, err := secret.ParsePath(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, b := path("p/a"), path("p/b")
	for name, test := range map[string]struct {
		named   []secret.Ref
		sources []vaultv1alpha1.SourceVersion
		refs    []secret.Ref
		reads   []secret.Ref
	}{
		"named":          {[]secret.Ref{{Path: a}, {Path: b, Version: 6}}, versionsOf(2, 6), []secret.Ref{{Path: a}, {Path: b, Version: 6}}, []secret.Ref{{Path: a, Version: 2}, {Path: b, Version: 6}}},
		"below a prefix": {[]secret.Ref{{Path: a}}, versionsOf(2, 1), []secret.Ref{{Path: a}, {Path: b}}, []secret.Ref{{Path: a, Version: 2}, {Path: b, Version: 1}}},
		"other path":     {[]secret.Ref{{Path: b}}, versionsOf(2, 1), nil, nil},
		"a path more":    {[]secret.Ref{{Path: a}, {Path: b}, {Path: path("p/c")}}, versionsOf(2, 1), nil, nil},
		"nothing":        {nil, nil, nil, nil},
		"not a path":     {nil, []vaultv1alpha1.SourceVersion{{Path: "../x", Version: 1}}, nil, nil},
	} {
		got, ok := goodRefs(test.named, test.sources)
		if ok != (test.refs != nil) {
			t.Errorf("%s: ok is %t", name, ok)
			continue
		}
		if diff := cmp.Diff(test.refs, got.refs, cmp.Comparer(func(x, y secret.Path) bool { return x == y })); ok && diff != "" {
			t.Errorf("%s: refs (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(test.reads, got.reads, cmp.Comparer(func(x, y secret.Path) bool { return x == y })); ok && diff != "" {
			t.Errorf("%s: reads (-want +got):\n%s", name, diff)
		}
	}
}

// A rollout is counted as failed once, when it fails.
func TestNewlyFailed(t *testing.T) {
	is := func(state vaultv1alpha1.WorkloadState) []vaultv1alpha1.WorkloadStatus {
		return []vaultv1alpha1.WorkloadStatus{{Kind: "Deployment", Name: "a", State: state}}
	}
	failed := is(vaultv1alpha1.WorkloadFailed)
	for name, test := range map[string]struct {
		before, now []vaultv1alpha1.WorkloadStatus
		want        int
	}{
		"fails":       {is(vaultv1alpha1.WorkloadRollingOut), failed, 1},
		"had failed":  {failed, failed, 0},
		"is new":      {nil, failed, 0},
		"recovers":    {failed, is(vaultv1alpha1.WorkloadCurrent), 0},
		"is not told": {is(vaultv1alpha1.WorkloadRollingOut), nil, 0},
	} {
		if got := newlyFailed(test.before, test.now); got != test.want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// The stamps of then count for the content of then only; a rollback neither waits long
// nor goes before its peers.
func TestUnstampedAndDebounce(t *testing.T) {
	object := &vaultv1alpha1.VaultSecret{}
	object.Status.LastGood = &vaultv1alpha1.GoodContent{Checksum: "good", Unstamped: []string{"Deployment/a"}}
	for _, wanted := range []time.Duration{0, time.Minute} {
		object.Spec.Rollout.Debounce = &metav1.Duration{Duration: wanted}
		object.Status.Rejected = nil
		if got := debounce(object); got != wanted || unstamped(object, "good") != nil {
			t.Errorf("without a rollback the debounce is %v, want %v, and without a stamp are %v", got, wanted, unstamped(object, "good"))
		}
		object.Status.Rejected = &vaultv1alpha1.RejectedContent{}
		if got := debounce(object); got != defaultDebounce {
			t.Errorf("a rollback waits %v", got)
		}
		if unstamped(object, "bad") != nil || len(unstamped(object, "good")) != 1 {
			t.Error("the stamps of the last good content are not told from others")
		}
	}
}
