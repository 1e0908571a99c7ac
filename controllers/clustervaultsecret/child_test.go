package clustervaultsecret

import (
	"strings"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// Whatever a person of the namespace writes into a VaultSecret, putting it right is done
// with one write: what came of it is right, so that no loop of writes begins. Labels
// of others stay, and of its status no more is taken over than there is room for.
func FuzzApplyToHostileVaultSecret(f *testing.F) {
	f.Add(`{"labels":["team"]}`, "team", "x", "owner", "Denied", "no")
	f.Add(`{"labels":["app.kubernetes.io/managed-by","mine"],"annotations":["vault.coffer.dev/managed-metadata"]}`, "mine", "y", "", "", "")
	f.Add(`{"labels":null}{`, "app.kubernetes.io/managed-by", "me", "vault.coffer.dev/managed-metadata", "Synced", "\xff")
	f.Add(`["team"]`, "", "", "note", "Progressing", string(make([]byte, 4096)))
	f.Fuzz(func(t *testing.T, note, label, value, annotation, reason, message string) {
		object := &vaultv1alpha1.ClusterVaultSecret{ObjectMeta: metav1.ObjectMeta{Name: "registry", UID: "1"}}
		object.Spec.Template.Spec = vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: "a/b"}
		object.Spec.Template.Metadata.Labels = map[string]string{"team": "platform"}
		child := &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{
			Name: "registry", Namespace: "payments", CreationTimestamp: metav1.NewTime(time.Unix(0, 0)),
			Labels:      map[string]string{label: value, "theirs": "stays"},
			Annotations: map[string]string{annotation: value, vaultv1alpha1.ManagedMetadataAnnotation: note},
			OwnerReferences: []metav1.OwnerReference{
				{UID: "2", Name: value}, {UID: "1", Kind: reason, Name: label}, {UID: "3", Name: note},
			},
		}}
		child.Spec = vaultv1alpha1.VaultSecretSpec{ServiceAccountName: value, Path: vaultv1alpha1.VaultPath(label), Suspend: true}
		child.Status.Conditions = []metav1.Condition{{Type: vaultv1alpha1.ConditionReady, Reason: reason, Message: message}}
		if err := apply(object, child); err != nil {
			t.Fatal(err)
		}
		if !apiequality.Semantic.DeepEqual(child.Spec, object.Spec.Template.Spec) || child.Labels["team"] != "platform" ||
			child.Labels[vaultv1alpha1.ManagedByLabel] != vaultv1alpha1.ManagedByValue {
			t.Errorf("it is not put right: %+v", child)
		}
		if child.Labels["theirs"] != "stays" && !strings.Contains(note, "theirs") {
			t.Errorf("another's label is gone: %v", child.Labels)
		}
		if owner := ownerOf(child); owner == nil || owner.UID != object.UID || len(child.OwnerReferences) != 3 {
			t.Errorf("the owners are %+v", child.OwnerReferences)
		}
		again := child.DeepCopy()
		if err := apply(object, again); err != nil {
			t.Fatal(err)
		}
		if !apiequality.Semantic.DeepEqual(child, again) {
			t.Errorf("a second time changes it again: %+v", again)
		}
		s := newScope(object)
		s.observe(child)
		if got := s.outcomes[0]; len(s.outcomes) != 1 || len(got.Message) > maxMessage {
			t.Errorf("the outcomes are %+v", s.outcomes)
		}
	})
}
