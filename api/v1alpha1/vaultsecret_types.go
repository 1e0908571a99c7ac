package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultSecretSpec says which paths a service account of this namespace wants and
// how the native Secret is to look.
//
// +kubebuilder:validation:XValidation:rule="has(self.path) || (has(self.data) && size(self.data) > 0)",message="name what to sync: set path, or at least one entry in data"
type VaultSecretSpec struct {
	// ServiceAccountName is the account, in this namespace, whose rights in the
	// vault are used. It must exist.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	ServiceAccountName string `json:"serviceAccountName"`

	// Path is the vault path to sync, such as production/payments/database. Each
	// property of the value becomes a key of the Secret; a value without
	// properties becomes the key "value".
	// +optional
	Path VaultPath `json:"path,omitempty"`

	// Data adds single keys: a property of a path, or the whole value of a path.
	// An entry wins over a key that comes from path.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=256
	Data []VaultSecretData `json:"data,omitempty"`

	// Target describes the native Secret.
	// +optional
	Target VaultSecretTarget `json:"target,omitzero"`

	// DeletionPolicy says what becomes of the Secret when the VaultSecret is
	// deleted, when access is revoked, or when the source is gone: Delete (used
	// when empty) removes it, Retain leaves the last synced one.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Rollout says whether the workloads that use the Secret are rolled when its
	// content changes.
	// +optional
	Rollout VaultSecretRollout `json:"rollout,omitzero"`

	// RefreshInterval is a safety resync besides events, such as 1h (used when
	// empty); 0s means events only.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="refreshInterval cannot be negative; use 0s for events only"
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// Suspend stops syncing while true: the Secret stays as it is.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// VaultPath is a path in the vault: 1 to 16 segments of [a-z0-9._-] joined by
// "/", at most 512 bytes.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:Pattern=`^[a-z0-9._-]+(/[a-z0-9._-]+){0,15}$`
// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '.' || s == '..')",message="a path has no '.' or '..' segment; write the whole path"
type VaultPath string

// VaultSecretData is one key of the Secret.
type VaultSecretData struct {
	// Key is the key in the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	// +required
	Key string `json:"key"`

	// Path is the vault path; the path of the spec when empty.
	// +optional
	Path VaultPath `json:"path,omitempty"`

	// Property picks one property of the value; the whole value when empty.
	// +optional
	Property string `json:"property,omitempty"`

	// Version pins a version; the current one when 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Version int64 `json:"version,omitempty"`

	// Decode decodes the text before it is written: Base64, or None (used when
	// empty).
	// +optional
	Decode Decoding `json:"decode,omitempty"`
}

// Decoding is a decoding of a value's text.
// +kubebuilder:validation:Enum=None;Base64
type Decoding string

// The decodings.
const (
	DecodeNone   Decoding = "None"
	DecodeBase64 Decoding = "Base64"
)

// VaultSecretTarget describes the native Secret.
type VaultSecretTarget struct {
	// Name of the Secret; the VaultSecret's own name when empty.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// Type of the Secret; Opaque when empty. The types by which Kubernetes grants
	// identity are refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self != 'kubernetes.io/service-account-token' && self != 'bootstrap.kubernetes.io/token'",message="this Secret type grants a Kubernetes identity and is refused; use Opaque or a type for your credential"
	Type string `json:"type,omitempty"`

	// Labels are added to the Secret.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations are added to the Secret.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Template renders further keys from those of path and data, such as
	// DSN: "postgres://{{ .user }}:{{ .password }}@db/payments". It is a Go
	// text/template with an allowed list of functions; when set, only the rendered
	// keys are written.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Template map[string]string `json:"template,omitempty"`
}

// DeletionPolicy says what becomes of the Secret.
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	DeletionDelete DeletionPolicy = "Delete"
	DeletionRetain DeletionPolicy = "Retain"
)

// VaultSecretRollout says how workloads follow a changed Secret.
type VaultSecretRollout struct {
	// Mode is Auto (used when empty): roll every Deployment, StatefulSet and
	// DaemonSet of the namespace whose pods use the Secret; or None.
	// +optional
	Mode RolloutMode `json:"mode,omitempty"`
}

// RolloutMode says which workloads are rolled.
// +kubebuilder:validation:Enum=Auto;None
type RolloutMode string

// The rollout modes.
const (
	RolloutAuto RolloutMode = "Auto"
	RolloutNone RolloutMode = "None"
)

// VaultSecretStatus is what the operator last saw and did.
type VaultSecretStatus struct {
	// Conditions are Ready, Synced and RolledOut.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ObservedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Path is the path shown by kubectl get: the spec's, or that of the first
	// entry of data.
	// +optional
	Path string `json:"path,omitempty"`

	// Version is the synced version of that path.
	// +optional
	Version int64 `json:"version,omitempty"`

	// Sources are the synced paths and versions.
	// +optional
	// +listType=atomic
	Sources []SourceStatus `json:"sources,omitempty"`

	// Target is the Secret that was written.
	// +optional
	Target *TargetStatus `json:"target,omitempty"`

	// Workloads are those that use the Secret and how far each has rolled.
	// +optional
	// +listType=atomic
	Workloads []WorkloadStatus `json:"workloads,omitempty"`

	// LastSyncTime is when the Secret was last written.
	// +optional
	LastSyncTime *metav1.Time `json:"lastSyncTime,omitempty"`
}

// SourceStatus is one synced path.
type SourceStatus struct {
	// Path in the vault.
	Path string `json:"path"`
	// Version that was synced.
	Version int64 `json:"version"`
	// RotatedAt is when that version was written.
	// +optional
	RotatedAt *metav1.Time `json:"rotatedAt,omitempty"`
}

// TargetStatus is the written Secret.
type TargetStatus struct {
	// Name of the Secret; empty after it was taken away because access is denied.
	Name string `json:"name"`
	// Keys of the Secret, sorted.
	// +optional
	// +listType=atomic
	Keys []string `json:"keys,omitempty"`
	// Checksum is a keyed checksum of the content; it tells nothing of the values.
	// +optional
	Checksum string `json:"checksum,omitempty"`
	// ContentChangedAt is when the content last changed; empty until the first
	// change after the Secret was created.
	// +optional
	ContentChangedAt *metav1.Time `json:"contentChangedAt,omitempty"`
}

// WorkloadStatus is the rollout of one workload.
type WorkloadStatus struct {
	// Kind is Deployment, StatefulSet or DaemonSet.
	Kind string `json:"kind"`
	// Name of the workload.
	Name string `json:"name"`
	// State of its rollout.
	State WorkloadState `json:"state"`
	// Message says why, when the state alone does not.
	// +optional
	Message string `json:"message,omitempty"`
}

// WorkloadState is how far a workload has rolled.
// +kubebuilder:validation:Enum=Current;RollingOut;Failed;Paused
type WorkloadState string

// The workload states.
const (
	// WorkloadCurrent: all pods run with the synced content.
	WorkloadCurrent WorkloadState = "Current"
	// WorkloadRollingOut: pods are being replaced.
	WorkloadRollingOut WorkloadState = "RollingOut"
	// WorkloadFailed: the rollout missed its progress deadline.
	WorkloadFailed WorkloadState = "Failed"
	// WorkloadPaused: a paused Deployment, or the OnDelete strategy: the pods
	// change when a person lets them.
	WorkloadPaused WorkloadState = "Paused"
)

// VaultSecret syncs paths of the vault into a native Secret of its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=vsec,categories=coffer
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.status.path`
// +kubebuilder:printcolumn:name="Version",type=integer,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.target.name`
// +kubebuilder:printcolumn:name="Rollout",type=string,JSONPath=`.status.conditions[?(@.type=="RolledOut")].reason`
// +kubebuilder:printcolumn:name="Synced",type=date,JSONPath=`.status.lastSyncTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VaultSecret struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// Spec says what is wanted.
	// +required
	Spec VaultSecretSpec `json:"spec"`
	// Status says what is.
	// +optional
	Status VaultSecretStatus `json:"status,omitzero"`
}

// VaultSecretList is a list of VaultSecrets.
// +kubebuilder:object:root=true
type VaultSecretList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []VaultSecret `json:"items"`
}
