package vaultsecret

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Domains of the keyed checksums.
const (
	contentDomain = "kubernetes-secret-content"
	inputsDomain  = "kubernetes-secret-inputs"
	vaultDomain   = "kubernetes-secret-vault"
)

// inputsFormat is counted up when the same inputs make other data than before, so
// that a new release renders every Secret anew.
const inputsFormat = 1

// contentChecksum is the keyed checksum of a Secret's data. It depends on the
// Secret's name, so that equal values in two Secrets do not show.
func contentChecksum(f Fingerprinter, namespace, name string, data map[string][]byte) string {
	parts := [][]byte{[]byte(namespace), []byte(name)}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		parts = append(parts, []byte(key), data[key])
	}
	return f.Fingerprint(contentDomain, parts...)
}

// inputsChecksum is the keyed checksum of all that the data are made from.
func inputsChecksum(f Fingerprinter, object *vaultv1alpha1.VaultSecret, refs []secret.Ref, versions []secret.Metadata) (string, error) {
	type version struct {
		Path    string
		Pinned  int64
		Version int64
	}
	inputs := struct {
		Format   int
		Path     vaultv1alpha1.VaultPath
		DataFrom []vaultv1alpha1.VaultSecretDataFrom `json:",omitempty"`
		Data     []vaultv1alpha1.VaultSecretData
		Template map[string]string
		Versions []version
	}{Format: inputsFormat, Path: object.Spec.Path, DataFrom: object.Spec.DataFrom, Data: object.Spec.Data, Template: object.Spec.Target.Template}
	for i, ref := range refs {
		inputs.Versions = append(inputs.Versions, version{ref.Path.String(), ref.Version, versions[i].Version})
	}
	encoded, err := json.Marshal(inputs)
	if err != nil {
		return "", fmt.Errorf("encode the inputs: %w", err)
	}
	return f.Fingerprint(inputsDomain, []byte(object.Namespace), []byte(object.Name), encoded), nil
}

// specChecksum is a checksum of what the spec says about the content and its rollouts:
// while it is the same, versions that were refused would fail as before. It is not keyed,
// since a spec holds no secret.
func specChecksum(object *vaultv1alpha1.VaultSecret) (string, error) {
	spec := &object.Spec
	encoded, err := json.Marshal(struct {
		Path      vaultv1alpha1.VaultPath
		DataFrom  []vaultv1alpha1.VaultSecretDataFrom `json:",omitempty"`
		Data      []vaultv1alpha1.VaultSecretData     `json:",omitempty"`
		Type      corev1.SecretType
		Template  map[string]string `json:",omitempty"`
		None      bool
		OnFailure vaultv1alpha1.RolloutFailurePolicy
	}{
		Path: spec.Path, DataFrom: spec.DataFrom, Data: spec.Data, Type: targetType(object), Template: spec.Target.Template,
		None: spec.Rollout.Mode == vaultv1alpha1.RolloutNone, OnFailure: onFailure(object),
	})
	if err != nil {
		return "", fmt.Errorf("encode the spec: %w", err)
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:]), nil
}

// vaultChecksum tells one vault from another: it changes with the vault's keys.
func vaultChecksum(f Fingerprinter) string { return f.Fingerprint(vaultDomain) }
