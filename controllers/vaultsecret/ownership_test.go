package vaultsecret_test

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// What Coffer writes about a value outside the data tells nothing of it: equal values
// in two Secrets, and under the keys of another vault, look different, and nothing is a
// hash that somebody who guesses the value could compute.
func TestChecksumsAreKeyed(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "guessed")
	first, second := w.ofPath("first", database), w.ofPath("second", database)
	w.ready(first)
	w.ready(second)
	user := w.deployment("api", envFrom("first"))
	w.put(database, "guess")
	w.stamped(user, "first")
	w.ready(second)
	w.holds("second", map[string]string{"value": "guess"})
	checksums := w.checksums("first", "second")
	for annotation, value := range refreshed(w, user).Spec.Template.Annotations {
		checksums["Deployment "+annotation] = value
	}
	op.stop()

	w.vault = vaulttest.Start(t)
	w.put(database, "guess")
	w.startOperator()
	w.eventually(func() string {
		if w.checksums("first")["first "+vaultv1alpha1.VaultAnnotation] == checksums["first "+vaultv1alpha1.VaultAnnotation] {
			return "the Secret is not written from the other vault"
		}
		return ""
	})
	for place, value := range w.checksums("first") {
		checksums["another vault: "+place] = value
	}

	seen := map[string]string{}
	for _, place := range slices.Sorted(maps.Keys(checksums)) {
		value := checksums[place]
		stamped := strings.HasPrefix(place, "Deployment ") && value == checksums["first "+vaultv1alpha1.ChecksumAnnotation]
		if other, ok := seen[value]; ok && !stamped && !strings.HasSuffix(place, vaultv1alpha1.VaultAnnotation) {
			t.Errorf("%s and %s are equal", other, place)
		}
		if !stamped {
			seen[value] = place
		}
		for _, guess := range guesses(t, "guess") {
			if strings.Contains(value, guess) {
				t.Errorf("%s can be computed from the value alone", place)
			}
		}
	}
	if len(checksums) < 10 {
		t.Errorf("too few checksums were looked at: %v", checksums)
	}
}

// checksums are the annotations that Coffer wrote on the Secrets, by name and annotation.
func (w *world) checksums(names ...string) map[string]string {
	w.t.Helper()
	found := map[string]string{}
	for _, name := range names {
		for _, annotation := range []string{vaultv1alpha1.ChecksumAnnotation, vaultv1alpha1.InputsAnnotation, vaultv1alpha1.VaultAnnotation} {
			if found[name+" "+annotation] = w.secret(name).Annotations[annotation]; found[name+" "+annotation] == "" {
				w.t.Fatalf("the Secret %s has no %s", name, annotation)
			}
		}
	}
	return found
}

// guesses are plain hashes of a value and of a Secret's data with it.
func guesses(t *testing.T, value string) []string {
	t.Helper()
	data, err := json.Marshal(map[string][]byte{"value": []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for _, text := range [][]byte{[]byte(value), []byte("value" + value), []byte("value=" + value), data} {
		s256, s512, s1, m5 := sha256.Sum256(text), sha512.Sum512(text), sha1.Sum(text), md5.Sum(text)
		for _, sum := range [][]byte{s256[:], s512[:], s1[:], m5[:]} {
			hashes = append(hashes, hex.EncodeToString(sum)[:20])
		}
	}
	return hashes
}

// Ownership goes by UID: a VaultSecret that is deleted and made again under its name
// does not write what belonged to the former, and makes its own when that is gone.
func TestVaultSecretMadeAnew(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	former := w.ofPath("payments", database)
	w.ready(former)
	before := w.secret("payments")
	w.delete(former)

	object := w.ofPath("payments", database)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonTargetTaken)
	w.put(database, "two")
	w.refresh(object, "again")
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonTargetTaken)
	if got := w.secret("payments"); got == nil || got.ResourceVersion != before.ResourceVersion {
		t.Error("the Secret of the former VaultSecret was written")
	}
	w.delete(before) // the garbage collector, which no API server brings along
	w.holds("payments", map[string]string{"value": "two"})
	w.ready(object)
	if got := w.secret("payments"); !metav1.IsControlledBy(got, object) {
		t.Errorf("the Secret is owned by %v", got.OwnerReferences)
	}
}
