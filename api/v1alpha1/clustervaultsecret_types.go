package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterVaultSecretSpec is a VaultSecret for every namespace that a selector
// matches.
type ClusterVaultSecretSpec struct {
	// NamespaceSelector matches namespaces by their labels, such as matchLabels: {team:
	// payments}. Each that has them gets a VaultSecret of the template, also when it
	// comes or is labelled later; one that has them no more loses it.
	// +required
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="an empty selector would match every namespace, kube-system too: name at least one label in matchLabels or matchExpressions; if every namespace is meant, write matchExpressions: [{key: kubernetes.io/metadata.name, operator: Exists}]"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="the operator of an expression is In, NotIn, Exists or DoesNotExist"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, (e.operator in ['In', 'NotIn']) == (has(e.values) && size(e.values) > 0))",message="In and NotIn need at least one entry in values, and Exists and DoesNotExist take none"
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`

	// Template is the VaultSecret that each of the namespaces gets.
	// +required
	Template VaultSecretTemplate `json:"template"`
}

// VaultSecretTemplate is a VaultSecret without a namespace.
type VaultSecretTemplate struct {
	// Metadata of the VaultSecrets.
	// +optional
	Metadata VaultSecretTemplateMetadata `json:"metadata,omitzero"`

	// Spec of the VaultSecrets. The service account that it names is one of each
	// namespace's own, which must exist there; its rights in the vault are used.
	// +required
	Spec VaultSecretSpec `json:"spec"`
}

// VaultSecretTemplateMetadata is what VaultSecrets made from a template are called and
// marked with.
type VaultSecretTemplateMetadata struct {
	// Name of the VaultSecrets, such as registry; the ClusterVaultSecret's own when
	// empty. A VaultSecret of this name that is not the ClusterVaultSecret's is left
	// alone.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="a name is like registry or registry.pull: a-z, 0-9, '-' and '.', and each part between dots begins and ends with a letter or digit"
	Name string `json:"name,omitempty"`

	// Labels are put on the VaultSecrets, such as team: platform. Those that others put
	// there stay.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k != 'app.kubernetes.io/managed-by' && !k.startsWith('vault.coffer.dev/') && !k.contains('.vault.coffer.dev/'))",message="app.kubernetes.io/managed-by and the names of vault.coffer.dev are Coffer's own; choose another label"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="a label's name is like team or example.com/team: at most 63 characters of A-Z, a-z, 0-9, '-', '_' and '.' behind the '/', beginning and ending with a letter or digit"
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations are put on the VaultSecrets, such as owner: platform-team. Those that
	// others put there stay.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('vault.coffer.dev/') && !k.contains('.vault.coffer.dev/'))",message="the names of vault.coffer.dev are Coffer's own; choose another annotation"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="an annotation's name is like note or example.com/note: at most 63 characters of A-Z, a-z, 0-9, '-', '_' and '.' behind the '/', beginning and ending with a letter or digit"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// MaxNamespaceOutcomes is how many namespaces the status of a ClusterVaultSecret
// lists, so that it does not grow with the cluster: 256 of them with their messages
// are some 150 KiB, a tenth of what an object may have.
const MaxNamespaceOutcomes = 256

// ClusterVaultSecretStatus is what the operator last saw and did.
type ClusterVaultSecretStatus struct {
	// Conditions holds Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ObservedGeneration is the generation of the spec that the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Matched is how many namespaces the selector matches; those being deleted do not
	// count.
	// +optional
	Matched int32 `json:"matched"`

	// Ready is how many of these have a VaultSecret that is ready.
	// +optional
	Ready int32 `json:"ready"`

	// Namespaces are the outcomes, those that are not ready first, then by name; at
	// most 256, while matched and ready count all.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +kubebuilder:validation:MaxItems=256
	Namespaces []NamespaceOutcome `json:"namespaces,omitempty"`
}

// NamespaceOutcome is what became of the template in one namespace.
type NamespaceOutcome struct {
	// Namespace is its name.
	// +required
	Namespace string `json:"namespace"`

	// Ready says that the VaultSecret of the namespace is ready.
	// +required
	Ready bool `json:"ready"`

	// Reason is that of the VaultSecret's condition Ready, such as Synced or Denied;
	// Progressing while it has none yet; VaultSecretNotOwned or VaultSecretWriteFailed
	// when there is no VaultSecret of the template.
	// +optional
	Reason string `json:"reason,omitempty"`

	// Message says more when it is not ready, in at most 256 bytes. The VaultSecret has
	// the whole of it.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}

// ClusterVaultSecret gives every namespace that a selector matches a VaultSecret.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cvsec,categories=coffer
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Namespaces",type=integer,JSONPath=`.status.matched`
// +kubebuilder:printcolumn:name="Synced",type=integer,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterVaultSecret struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// Spec says what is wanted.
	// +required
	Spec ClusterVaultSecretSpec `json:"spec"`
	// Status says what is.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status ClusterVaultSecretStatus `json:"status,omitzero"`
}

// ClusterVaultSecretList is a list of ClusterVaultSecrets.
// +kubebuilder:object:root=true
type ClusterVaultSecretList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ClusterVaultSecret `json:"items"`
}
