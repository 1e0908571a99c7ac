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
	type object = vaultv1alpha1.VaultSecret
	for name, test := range map[string]struct {
		change  func(*object)
		present []vaultv1alpha1.SourceVersion
		want    bool
	}{
		"nothing is new":       {nil, versionsOf(2, 1), false},
		"a newer one":          {nil, versionsOf(3, 1), true},
		"a newer one of other": {nil, versionsOf(2, 2), true},
		"the one before":       {nil, versionsOf(1, 1), true},
		"a path less":          {nil, versionsOf(2, 1)[:1], true},
		"a path more":          {nil, append(versionsOf(2, 1), vaultv1alpha1.SourceVersion{Path: "p/c", Version: 1}), true},
		"asked for": {func(o *object) {
			o.Annotations = map[string]string{vaultv1alpha1.RefreshAnnotation: "later"}
		}, versionsOf(2, 1), true},
		"another annotation":    {func(o *object) { o.Annotations["other"] = "x" }, versionsOf(2, 1), false},
		"a status of before":    {func(o *object) { o.Status.Rejected.SpecChecksum = "" }, versionsOf(2, 1), true},
		"suspended and resumed": {func(o *object) { o.Generation += 2 }, versionsOf(2, 1), false},
	} {
		o := refusing(t)
		if test.change != nil {
			test.change(o)
		}
		if got := released(o, checksumOfSpec(t, o), test.present); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// refusing is a VaultSecret of two paths that refuses versions 2 and 1 of them.
func refusing(t *testing.T) *vaultv1alpha1.VaultSecret {
	t.Helper()
	o := &vaultv1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Generation: 4, Annotations: map[string]string{vaultv1alpha1.RefreshAnnotation: "then"}},
		Spec: vaultv1alpha1.VaultSecretSpec{
			ServiceAccountName: "api", Path: "p/a",
			DataFrom: []vaultv1alpha1.VaultSecretDataFrom{{Path: "p/a"}},
			Data:     []vaultv1alpha1.VaultSecretData{{Key: "b", Path: "p/b"}},
		},
	}
	o.Status.Rejected = &vaultv1alpha1.RejectedContent{Sources: versionsOf(2, 1), SpecChecksum: checksumOfSpec(t, o), RefreshRequest: "then"}
	return o
}

func checksumOfSpec(t *testing.T, o *vaultv1alpha1.VaultSecret) string {
	t.Helper()
	checksum, err := specChecksum(o)
	if err != nil {
		t.Fatal(err)
	}
	return checksum
}

// A refusal is of what the spec makes of the versions and of what it says of failures:
// each such field ends it, and none of the others.
func TestSpecChecksum(t *testing.T) {
	type spec = vaultv1alpha1.VaultSecretSpec
	refresh := metav1.Duration{Duration: time.Minute}
	for name, test := range map[string]struct {
		change func(*spec)
		ends   bool
	}{
		"path":                 {func(s *spec) { s.Path = "p/c" }, true},
		"dataFrom":             {func(s *spec) { s.DataFrom[0].OnConflict = vaultv1alpha1.ConflictKeep }, true},
		"a prefix more":        {func(s *spec) { s.DataFrom = append(s.DataFrom, vaultv1alpha1.VaultSecretDataFrom{Prefix: "p/"}) }, true},
		"a pin":                {func(s *spec) { s.Data[0].Version = 1 }, true},
		"a property":           {func(s *spec) { s.Data[0].Property = "password" }, true},
		"a key less":           {func(s *spec) { s.Data = nil }, true},
		"target.type":          {func(s *spec) { s.Target.Type = "example.com/own" }, true},
		"target.template":      {func(s *spec) { s.Target.Template = map[string]string{"dsn": "x"} }, true},
		"rollout.mode":         {func(s *spec) { s.Rollout.Mode = vaultv1alpha1.RolloutNone }, true},
		"rollout.onFailure":    {func(s *spec) { s.Rollout.OnFailure = vaultv1alpha1.OnFailureHold }, true},
		"target.type as it is": {func(s *spec) { s.Target.Type = "Opaque" }, false},
		"rollout as it is": {func(s *spec) {
			s.Rollout.Mode, s.Rollout.OnFailure = vaultv1alpha1.RolloutAuto, vaultv1alpha1.OnFailureRollback
		}, false},
		"suspend":            {func(s *spec) { s.Suspend = true }, false},
		"refreshInterval":    {func(s *spec) { s.RefreshInterval = &refresh }, false},
		"serviceAccountName": {func(s *spec) { s.ServiceAccountName = "other" }, false},
		"deletionPolicy":     {func(s *spec) { s.DeletionPolicy = vaultv1alpha1.DeletionRetain }, false},
		"target.name":        {func(s *spec) { s.Target.Name = "other" }, false},
		"target.labels":      {func(s *spec) { s.Target.Labels = map[string]string{"a": "b"} }, false},
		"target.annotations": {func(s *spec) { s.Target.Annotations = map[string]string{"a": "b"} }, false},
		"target.adopt":       {func(s *spec) { s.Target.Adopt = true }, false},
		"rollout.debounce":   {func(s *spec) { s.Rollout.Debounce = &refresh }, false},
		"rollout.targets":    {func(s *spec) { s.Rollout.Targets = []vaultv1alpha1.RolloutTarget{{Kind: "Deployment", Name: "api"}} }, false},
		"rollout.selector":   {func(s *spec) { s.Rollout.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}} }, false},
		"nothing":            {func(*spec) {}, false},
		"an empty list of a kind": {func(s *spec) {
			s.Target.Template, s.Rollout.Targets = map[string]string{}, []vaultv1alpha1.RolloutTarget{}
		}, false},
	} {
		o := refusing(t)
		test.change(&o.Spec)
		if got := released(o, checksumOfSpec(t, o), versionsOf(2, 1)); got != test.ends {
			t.Errorf("%s: released is %t", name, got)
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
