package source

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// helmRelease is the type of the Secrets in which Helm keeps what it installed.
const helmRelease = "helm.sh/release.v1"

// isManifest reports whether a JSON or YAML document is an object of Kubernetes.
func isManifest(document []byte) bool {
	var node yaml.Node
	if yaml.Unmarshal(document, &node) != nil || len(node.Content) != 1 || node.Content[0].Kind != yaml.MappingNode {
		return false
	}
	has := map[string]bool{}
	members := node.Content[0].Content
	for i := 0; i+1 < len(members); i += 2 {
		if members[i+1].Kind == yaml.ScalarNode {
			has[members[i].Value] = true
		}
	}
	return has["apiVersion"] && has["kind"]
}

// parseManifests reads the Secrets and ConfigMaps of a stream of objects, and of lists of
// them. Other kinds are passed over.
func parseManifests(file string, content []byte) (Parsed, error) {
	documents, err := documentsOf(file, content)
	if err != nil {
		return Parsed{}, err
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return Parsed{}, err
	}
	m := manifests{file: file, decoder: serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()}
	for _, document := range documents {
		if !isManifest(document) {
			return Parsed{}, fmt.Errorf("%s has manifests and other documents; import them from files of their own", file)
		}
		if err := m.add(document, 0); err != nil {
			return Parsed{}, err
		}
	}
	if len(m.found.Sources) == 0 && len(m.found.Skipped) == 0 {
		return Parsed{}, fmt.Errorf("%s has no Secret and no ConfigMap", file)
	}
	return m.found, nil
}

// manifests collects the sources of one file.
type manifests struct {
	file    string
	decoder runtime.Decoder
	found   Parsed
}

// kinds are the kinds that are read; of other kinds nothing has to be right.
var kinds = []string{string(KindSecret), string(KindConfigMap), "List", "SecretList", "ConfigMapList"}

func (m *manifests) add(document []byte, depth int) error {
	object, kind, err := m.decoder.Decode(document, nil, nil)
	if runtime.IsNotRegisteredError(err) || kind != nil && (kind.GroupVersion() != corev1.SchemeGroupVersion || !slices.Contains(kinds, kind.Kind)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %s", m.file, undecodable(err))
	}
	switch o := object.(type) {
	case *corev1.Secret:
		return m.secret(o)
	case *corev1.ConfigMap:
		return m.configMap(o)
	case *corev1.SecretList:
		return each(o.Items, m.secret)
	case *corev1.ConfigMapList:
		return each(o.Items, m.configMap)
	case *corev1.List:
		if depth > 0 {
			return fmt.Errorf("%s has a List in a List", m.file)
		}
		return each(o.Items, func(item *runtime.RawExtension) error { return m.add(item.Raw, depth+1) })
	}
	return nil
}

// each ends at the first error.
func each[T any](items []T, do func(*T) error) error {
	for i := range items {
		if err := do(&items[i]); err != nil {
			return err
		}
	}
	return nil
}

// undecodable says why an object cannot be read, without the words of the decoder, which may
// quote it.
func undecodable(err error) string {
	if _, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return "what stands under data is not base64; text goes under stringData"
	}
	return "this is not a Secret or ConfigMap as Kubernetes takes them; see kubectl apply --dry-run=server"
}

func (m *manifests) secret(o *corev1.Secret) error {
	s, skipped, err := FromSecret(o)
	if err != nil {
		return fmt.Errorf("%s: %w", m.file, err)
	}
	if skipped != "" {
		m.found.Skipped = append(m.found.Skipped, skipped)
		return nil
	}
	m.found.Sources = append(m.found.Sources, s)
	return nil
}

func (m *manifests) configMap(o *corev1.ConfigMap) error {
	s, err := FromConfigMap(o)
	if err != nil {
		return fmt.Errorf("%s: %w", m.file, err)
	}
	m.found.Sources = append(m.found.Sources, s)
	return nil
}

// FromSecret makes a source of a Secret. skipped says why a Secret is none.
func FromSecret(o *corev1.Secret) (s Source, skipped string, err error) {
	s = Source{
		Kind: KindSecret, Namespace: o.Namespace, Name: o.Name, Type: o.Type, Immutable: o.Immutable != nil && *o.Immutable,
	}
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if owner := metav1.GetControllerOf(o); owner != nil {
		s.Controller = owner.Kind + " " + owner.Name
	}
	switch {
	case o.Name == "":
		return Source{}, "", errors.New("a Secret has no name; give metadata.name")
	case o.Type == corev1.SecretTypeServiceAccountToken || o.Type == corev1.SecretTypeBootstrapToken:
		return Source{}, s.String() + " is a token by which Kubernetes grants an identity", nil
	case o.Type == helmRelease:
		return Source{}, s.String() + " is Helm's own record of a release", nil
	case o.Labels[vaultv1alpha1.ManagedByLabel] == vaultv1alpha1.ManagedByValue:
		return Source{}, s.String() + " is written by Coffer already", nil
	}
	values := map[string][]byte{}
	maps.Copy(values, o.Data)
	for key, value := range o.StringData { // wins, as in Kubernetes
		values[key] = []byte(value)
	}
	s, err = newSource(s, bytesOf(values))
	return s, "", err
}

// FromConfigMap makes a source of a ConfigMap.
func FromConfigMap(o *corev1.ConfigMap) (Source, error) {
	if o.Name == "" {
		return Source{}, errors.New("a ConfigMap has no name; give metadata.name")
	}
	entries := append(entriesOf(o.Data), bytesOf(o.BinaryData)...)
	return newSource(Source{Kind: KindConfigMap, Namespace: o.Namespace, Name: o.Name}, entries)
}

func bytesOf(values map[string][]byte) []Entry {
	entries := make([]Entry, 0, len(values))
	for key, value := range values {
		entries = append(entries, Entry{key, value})
	}
	return entries
}
