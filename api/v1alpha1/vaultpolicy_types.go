package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultPolicySpec is a set of rules: who may do what on which paths. Nothing is
// allowed by default, allowing rules add up, and a denying rule wins.
type VaultPolicySpec struct {
	// Rules of this policy.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Rules []VaultPolicyRule `json:"rules"`
}

// VaultPolicyRule allows or denies capabilities on paths to subjects.
type VaultPolicyRule struct {
	// Effect is Allow or Deny.
	// +required
	Effect PolicyEffect `json:"effect"`

	// Paths are patterns: "*" stands for one whole segment and "**" for any
	// number of segments, such as production/payments/** or */stripe/key.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Paths []PathPattern `json:"paths"`

	// Capabilities that the rule is about.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	Capabilities []Capability `json:"capabilities"`

	// Subjects that the rule is about.
	// +required
	Subjects PolicySubjects `json:"subjects"`

	// Environments limits the rule to callers of these environments; any
	// environment when empty.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	Environments []string `json:"environments,omitempty"`

	// ExpiresAt is when the rule ends; never when empty.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
}

// PathPattern is a path whose segments may be "*" or "**", and not "." or "..".
// ---
// The pattern itself refuses the segments "." and "..": a CEL rule, for each of so
// many paths of so many rules, would exceed the API server's cost budget.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:Pattern=`^(\.{0,2}[a-z0-9_-][a-z0-9._-]*|\.{3}[a-z0-9._-]*|\*{1,2})(/(\.{0,2}[a-z0-9_-][a-z0-9._-]*|\.{3}[a-z0-9._-]*|\*{1,2})){0,15}$`
type PathPattern string

// PolicyEffect is what a matching rule does.
// +kubebuilder:validation:Enum=Allow;Deny
type PolicyEffect string

// The effects.
const (
	EffectAllow PolicyEffect = "Allow"
	EffectDeny  PolicyEffect = "Deny"
)

// Capability is something a caller can do on a path.
// +kubebuilder:validation:Enum=read;list;write;rotate;delete;share;audit
type Capability string

// PolicySubjects are the callers of a rule; one match is enough.
//
// +kubebuilder:validation:XValidation:rule="(has(self.serviceAccounts) && size(self.serviceAccounts) > 0) || (has(self.users) && size(self.users) > 0) || (has(self.groups) && size(self.groups) > 0)",message="name at least one service account, user or group"
type PolicySubjects struct {
	// ServiceAccounts of the cluster.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	ServiceAccounts []ServiceAccountSubject `json:"serviceAccounts,omitempty"`
	// Users by the name that the API server gives them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	Users []string `json:"users,omitempty"`
	// Groups by the name that the API server gives them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	Groups []string `json:"groups,omitempty"`
}

// ServiceAccountSubject is a service account by namespace and name, and, if the rule is
// to mean that one account only, its UID.
//
// +kubebuilder:validation:XValidation:rule="!has(self.uid) || (self.__namespace__ != '*' && self.name != '*')",message="a uid is of one account: write its namespace and name in place of *, or leave uid out"
type ServiceAccountSubject struct {
	// Namespace of the account, or "*".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Namespace string `json:"namespace"`
	// Name of the account, or "*".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// UID of the account, as kubectl get serviceaccount NAME -o jsonpath={.metadata.uid}
	// gives it. The rule is then not about an account of the same name that is made
	// after this one was deleted. Any account of the name when empty.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	UID string `json:"uid,omitempty"`
}

// VaultPolicyStatus says whether the engine enforces the policy.
type VaultPolicyStatus struct {
	// Conditions holds Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// ObservedGeneration is the generation that the engine enforces.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// VaultPolicy says who may do what on which paths of the vault.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=vpol,categories=coffer
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VaultPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// Spec holds the rules.
	// +required
	Spec VaultPolicySpec `json:"spec"`
	// Status says whether they are in force.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status VaultPolicyStatus `json:"status,omitzero"`
}

// VaultPolicyList is a list of VaultPolicies.
// +kubebuilder:object:root=true
type VaultPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []VaultPolicy `json:"items"`
}
