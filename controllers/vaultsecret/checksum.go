package vaultsecret

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

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

// vaultChecksum tells one vault from another: it changes with the vault's keys.
func vaultChecksum(f Fingerprinter) string { return f.Fingerprint(vaultDomain) }
