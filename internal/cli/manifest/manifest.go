// Package manifest makes the objects with which an import ends: a VaultSecret that keeps a
// Secret of the same name, type and keys as before, and a VaultPolicy that lets its service
// account read.
package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/cli/source"
)

// Bounds of the objects, as the CRDs have them.
const (
	maxData  = 256
	maxPaths = 64
	maxRules = 256
)

// maxNamePrefix leaves room in a name for what is put behind it.
const maxNamePrefix = 200

// nameSumBytes of a SHA-256 are in a name: two of some thousand imports meet with a chance of one in 10^12.
const nameSumBytes = 8

// keyPattern is what a key of a Secret may be.
var keyPattern = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// Key is a key of a Secret, and where the vault has its value.
type Key struct {
	// Name of the key.
	Name string
	// Path in the vault, and the property of its value; the whole value when Property is
	// empty.
	Path, Property string
	// Base64 says that the property is the value in base64, since it is not text.
	Base64 bool
}

// Import is a source that is in the vault now.
type Import struct {
	Source source.Source
	Keys   []Key
	// Whole says that all keys are of one path, which has no other properties.
	Whole bool
	// Account that is to read, in its namespace.
	Account types.NamespacedName
	// Name of the VaultSecret and of the Secret.
	Name string
}

// NameOf makes the name of an object of any text, such as a path or the name of a file. It is
// empty when nothing of the text can be part of a name.
func NameOf(text string) string {
	text = text[:min(len(text), validation.DNS1123SubdomainMaxLength)]
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '-'
		}
	}, text)
	// Each part between dots begins and ends with a letter or digit.
	parts := slices.DeleteFunc(strings.Split(name, "."), func(part string) bool { return strings.Trim(part, "-") == "" })
	for i := range parts {
		parts[i] = strings.Trim(parts[i], "-")
	}
	name = strings.Join(parts, ".")
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return ""
	}
	return name
}

// VaultSecret makes the VaultSecret. Its error says why the Secret could not stay what it is.
func VaultSecret(i Import) (*vaultv1alpha1.VaultSecret, error) {
	if err := possible(i); err != nil {
		return nil, err
	}
	vs := &vaultv1alpha1.VaultSecret{
		TypeMeta:   metav1.TypeMeta{APIVersion: vaultv1alpha1.GroupVersion.String(), Kind: "VaultSecret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: i.Account.Namespace, Name: i.Name},
	}
	vs.Spec.ServiceAccountName = i.Account.Name
	if i.Whole {
		vs.Spec.Path = vaultv1alpha1.VaultPath(i.Keys[0].Path)
	}
	for _, k := range i.Keys {
		if i.Whole && !k.Base64 {
			continue // the path gives it
		}
		entry := vaultv1alpha1.VaultSecretData{Key: k.Name, Property: k.Property}
		if !i.Whole {
			entry.Path = vaultv1alpha1.VaultPath(k.Path)
		}
		if k.Base64 {
			entry.Decode = vaultv1alpha1.DecodeBase64
		}
		vs.Spec.Data = append(vs.Spec.Data, entry)
	}
	if len(vs.Spec.Data) > maxData {
		return nil, fmt.Errorf("a VaultSecret names at most %d single keys, and this one would have %d; import without --split to a path that holds nothing else", maxData, len(vs.Spec.Data))
	}
	if i.Source.Kind == source.KindSecret {
		vs.Spec.Target.Adopt = true
		if i.Source.Type != corev1.SecretTypeOpaque {
			vs.Spec.Target.Type = string(i.Source.Type)
		}
	}
	return vs, nil
}

// possible says why no VaultSecret can keep what the source was.
func possible(i Import) error {
	s := i.Source
	if i.Name == "" {
		return fmt.Errorf("no name for it can be made of %s", s)
	}
	if s.Kind == source.KindSecret && s.Namespace != "" && s.Namespace != i.Account.Namespace {
		return fmt.Errorf("a VaultSecret reads by a service account of its own namespace; give --service-account %s/NAME", s.Namespace)
	}
	if s.Kind == source.KindSecret && len(s.Left) > 0 {
		return fmt.Errorf("the Secret would lose its other keys (%s); import it without --keys", strings.Join(s.Left, ", "))
	}
	if s.Controller != "" {
		return fmt.Errorf("the Secret is kept by %s, which would go on writing it; sync to a Secret of another name, and let the workloads use that", s.Controller)
	}
	for _, k := range i.Keys {
		if !keyPattern.MatchString(k.Name) {
			return fmt.Errorf("%q cannot be the key of a Secret, which has letters, digits, '-', '_' and '.' only; give it another key in a VaultSecret of your own", k.Name)
		}
	}
	return nil
}

// VaultPolicy lets account read the paths. It is named after both, so that the policy of another
// import does not replace it, and that of the same import does.
func VaultPolicy(account types.NamespacedName, paths []string) (*vaultv1alpha1.VaultPolicy, error) {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	policy := &vaultv1alpha1.VaultPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: vaultv1alpha1.GroupVersion.String(), Kind: "VaultPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: policyName(account, paths)},
	}
	for some := range slices.Chunk(paths, maxPaths) {
		rule := vaultv1alpha1.VaultPolicyRule{
			Effect:       vaultv1alpha1.EffectAllow,
			Capabilities: []vaultv1alpha1.Capability{"read"},
			Subjects: vaultv1alpha1.PolicySubjects{
				ServiceAccounts: []vaultv1alpha1.ServiceAccountSubject{{Namespace: account.Namespace, Name: account.Name}},
			},
		}
		for _, path := range some {
			rule.Paths = append(rule.Paths, vaultv1alpha1.PathPattern(path))
		}
		policy.Spec.Rules = append(policy.Spec.Rules, rule)
	}
	if len(policy.Spec.Rules) > maxRules {
		return nil, fmt.Errorf("a VaultPolicy names at most %d paths, and this one would have %d; import without --split", maxRules*maxPaths, len(paths))
	}
	return policy, nil
}

// policyName is for people to read, up to the sum, which tells apart what reads the same: the accounts
// a/b-c and a-b/c, and long names.
func policyName(account types.NamespacedName, paths []string) string {
	sum := sha256.Sum256([]byte(account.String() + "\n" + strings.Join(paths, "\n")))
	name := NameOf(account.Namespace + "-" + account.Name)
	return strings.TrimRight(name[:min(len(name), maxNamePrefix)], "-.") + "-imported-" + hex.EncodeToString(sum[:nameSumBytes])
}

// Encode writes the objects as a stream of YAML documents.
func Encode(objects ...any) ([]byte, error) {
	var stream bytes.Buffer
	for i, o := range objects {
		encoded, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encode a manifest: %w", err)
		}
		if i > 0 {
			stream.WriteString("---\n")
		}
		stream.Write(encoded)
	}
	return stream.Bytes(), nil
}
