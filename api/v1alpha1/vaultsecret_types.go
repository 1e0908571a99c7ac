package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultSecretSpec says which paths a service account of this namespace wants and
// how the native Secret is to look. The sources are taken in this order: path,
// dataFrom, data.
//
// +kubebuilder:validation:XValidation:rule="has(self.path) || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && size(self.data) > 0)",message="name what to sync: set path, or at least one entry in dataFrom or data"
// +kubebuilder:validation:XValidation:rule="!has(self.target) || !has(self.target.immutable) || !self.target.immutable || (has(self.rollout) && has(self.rollout.mode) && self.rollout.mode == 'None')",message="an immutable Secret has another name with each content, and a workload gets it by naming it, which Coffer does not do: set rollout.mode to None"
// +kubebuilder:validation:XValidation:rule="has(self.path) || !has(self.data) || self.data.all(d, has(d.path))",message="an entry of data without path takes spec.path, which is not set: give each entry a path, or set spec.path"
type VaultSecretSpec struct {
	// ServiceAccountName is the account, in this namespace, whose rights in the
	// vault are used, such as api. It must exist.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	ServiceAccountName string `json:"serviceAccountName"`

	// Path is the vault path to sync, such as production/payments/database. When the
	// value is one JSON object whose values are all strings, each property becomes a
	// key of the Secret; any other value becomes the key "value", byte for byte.
	// +optional
	Path VaultPath `json:"path,omitempty"`

	// DataFrom adds whole paths, and all paths below prefixes, in this order. Two
	// sources that give one key are a conflict, which onConflict of the later decides.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	DataFrom []VaultSecretDataFrom `json:"dataFrom,omitempty"`

	// Data adds single keys: a property of a path, or the whole value of a path. An
	// entry wins over a key that comes from path or dataFrom, without a conflict.
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
	// when empty) removes it, Retain leaves the last synced one and, while the
	// VaultSecret is there, marks it with the annotations
	// vault.coffer.dev/retained-because and vault.coffer.dev/retained-since.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Rollout says whether the workloads that use the Secret are rolled when its
	// content changes.
	// +optional
	Rollout VaultSecretRollout `json:"rollout,omitzero"`

	// RefreshInterval is a safety resync besides events, such as 15m or 1h (used when
	// empty), spread by up to a tenth; 0s means events only.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="refreshInterval cannot be negative; use 0s for events only"
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// Suspend stops syncing while true: the Secret and the workloads stay as they are.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// VaultPath is a path in the vault, such as production/payments/database: 1 to 16
// segments of [a-z0-9._-] joined by "/", at most 512 bytes.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:Pattern=`^[a-z0-9._-]+(/[a-z0-9._-]+){0,15}$`
// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '.' || s == '..')",message="a path has no '.' or '..' segment; write the whole path"
type VaultPath string

// VaultPrefix selects the paths below it, such as production/payments/: 1 to 15
// segments like those of a path, each followed by "/", at most 512 bytes.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="self.endsWith('/')",message="a prefix ends in '/': production/payments/ selects every path below production/payments"
// +kubebuilder:validation:XValidation:rule="!self.endsWith('/') || (self.matches('^([a-z0-9._-]+/){1,15}$') && !('/' + self).matches('/[.]{1,2}/'))",message="a prefix has 1 to 15 segments of a-z, 0-9, '.', '_' and '-', such as production/payments/, and no empty, '.' or '..' segment"
type VaultPrefix string

// VaultSecretDataFrom adds the keys of a whole path, or of all paths below a prefix.
//
// +kubebuilder:validation:XValidation:rule="has(self.path) != has(self.prefix)",message="an entry of dataFrom names either path or prefix: set exactly one of them"
// +kubebuilder:validation:XValidation:rule="has(self.path) || !has(self.version) || self.version == 0",message="version pins one path, and a prefix has many: leave version out, or name a path"
type VaultSecretDataFrom struct {
	// Path is a vault path, such as production/payments/database. Its value gives keys
	// as spec.path does.
	// +optional
	Path VaultPath `json:"path,omitempty"`

	// Version pins a version of path, such as 3; the current one when 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Version int64 `json:"version,omitempty"`

	// Prefix stands for every path below it that the service account may read, such as
	// production/payments/; paths that come or go later are followed. A path gives the
	// name of what lies behind the prefix: production/payments/api/token gives
	// api/token, or, when the value has properties, api/token/PROPERTY for each. After
	// rename each "/" becomes "_". All prefixes together give at most 256 paths.
	// +optional
	Prefix VaultPrefix `json:"prefix,omitempty"`

	// Rename changes the names before they become keys: each entry is applied to the
	// outcome of the one before.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Rename []VaultSecretRename `json:"rename,omitempty"`

	// OnConflict says what happens when a key of this entry is there already, from
	// path, from an earlier entry, or from an earlier path of the same prefix: Fail
	// (used when empty) syncs nothing and says so, Replace takes the key of this entry,
	// Keep leaves the earlier one. Keys that data sets are no conflict.
	// +optional
	OnConflict ConflictPolicy `json:"onConflict,omitempty"`
}

// VaultSecretRename replaces what a regular expression matches in a name.
//
// +kubebuilder:validation:XValidation:rule="'a'.matches(self.from) ? true : true",message="from is not a regular expression in RE2 syntax"
type VaultSecretRename struct {
	// From is a regular expression in RE2 syntax, such as ^api/(.*)$. All that it
	// matches in the name is replaced; a name that it does not match stays.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	From string `json:"from"`

	// To is the replacement, such as API_$1. $1 or ${1} is the first group of from; a
	// name such as $1_KEY is written ${1}_KEY, and $$ is a "$".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	To string `json:"to,omitempty"`
}

// ConflictPolicy says which of two sources of one key counts.
// +kubebuilder:validation:Enum=Fail;Replace;Keep
type ConflictPolicy string

// The conflict policies.
const (
	ConflictFail    ConflictPolicy = "Fail"
	ConflictReplace ConflictPolicy = "Replace"
	ConflictKeep    ConflictPolicy = "Keep"
)

// VaultSecretData is one key of the Secret.
type VaultSecretData struct {
	// Key is the key in the Secret, such as DB_PASSWORD.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	// +required
	Key string `json:"key"`

	// Path is the vault path, such as production/payments/database; spec.path when
	// empty.
	// +optional
	Path VaultPath `json:"path,omitempty"`

	// Property picks one property of the value, such as password; the whole value when
	// empty.
	// +optional
	Property string `json:"property,omitempty"`

	// Version pins a version, such as 3; the current one when 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Version int64 `json:"version,omitempty"`

	// Decode decodes the text before it is written: Base64 (standard, padded),
	// Base64URL (padded or not), Hex, or None (used when empty).
	// +optional
	Decode Decoding `json:"decode,omitempty"`
}

// Decoding is a decoding of a value's text.
// +kubebuilder:validation:Enum=None;Base64;Base64URL;Hex
type Decoding string

// The decodings.
const (
	DecodeNone      Decoding = "None"
	DecodeBase64    Decoding = "Base64"
	DecodeBase64URL Decoding = "Base64URL"
	DecodeHex       Decoding = "Hex"
)

// VaultSecretTarget describes the native Secret.
//
// +kubebuilder:validation:XValidation:rule="!has(self.immutable) || !self.immutable || !has(self.name) || self.name.size() <= 242",message="the name of an immutable Secret gets 11 characters more: give the target a name of at most 242"
// +kubebuilder:validation:XValidation:rule="!has(self.immutable) || !self.immutable || !has(self.adopt) || !self.adopt",message="an immutable Secret has the name of its content, and there is none to adopt: leave adopt out"
type VaultSecretTarget struct {
	// Name of the Secret, such as payments-db; the VaultSecret's own name when empty.
	// Of two VaultSecrets that name one Secret, the older one keeps it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// Type of the Secret, such as kubernetes.io/tls; Opaque when empty. For
	// kubernetes.io/tls, kubernetes.io/dockerconfigjson, kubernetes.io/dockercfg,
	// kubernetes.io/basic-auth and kubernetes.io/ssh-auth the content is checked before
	// it is written. The types by which Kubernetes grants identity are refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self != 'kubernetes.io/service-account-token' && self != 'bootstrap.kubernetes.io/token'",message="this Secret type grants a Kubernetes identity and is refused; use Opaque or a type for your credential"
	Type string `json:"type,omitempty"`

	// Labels are put on the Secret, such as team: payments. Those that others put there
	// stay.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k != 'app.kubernetes.io/managed-by' && !k.startsWith('vault.coffer.dev/') && !k.contains('.vault.coffer.dev/'))",message="app.kubernetes.io/managed-by and the names of vault.coffer.dev are Coffer's own; choose another label"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="a label's name is like team or example.com/team: at most 63 characters of A-Z, a-z, 0-9, '-', '_' and '.' behind the '/', beginning and ending with a letter or digit"
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations are put on the Secret, such as owner: payments-team. Those that others
	// put there stay.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('vault.coffer.dev/') && !k.contains('.vault.coffer.dev/'))",message="the names of vault.coffer.dev are Coffer's own; choose another annotation"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="an annotation's name is like note or example.com/note: at most 63 characters of A-Z, a-z, 0-9, '-', '_' and '.' behind the '/', beginning and ending with a letter or digit"
	Annotations map[string]string `json:"annotations,omitempty"`

	// Template renders the keys of the Secret from those of path, dataFrom and data,
	// such as DSN: "postgres://{{ .user }}:{{ .password | urlquery }}@db/payments". It
	// is a Go text/template with an allowed list of functions; when set, only the
	// rendered keys are written.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 253 && k.matches('^[-._a-zA-Z0-9]+$'))",message="a rendered key has 1 to 253 characters of A-Z, a-z, 0-9, '-', '_' and '.'"
	Template map[string]string `json:"template,omitempty"`

	// Immutable makes a Secret of its own for each content, which Kubernetes lets nobody
	// change. Its name is that of the target, "-", and 10 characters of a keyed checksum of
	// the content, such as payments-db-3f9c01ab72; status.target.name has it. Those of
	// earlier contents stay while a workload or a pod of the namespace uses them, and the
	// newest 10 in any case. Workloads get a new content when they are made to name its
	// Secret: rollout.mode is None.
	// +optional
	Immutable bool `json:"immutable,omitempty"`

	// Adopt lets a Secret that is there already, and that no controller owns, be taken
	// over, when that Secret agrees: it carries the annotation
	// vault.coffer.dev/adopt-by with the name of this VaultSecret. Its data are then
	// replaced. Without adopt, or without the annotation, it is left untouched.
	// +optional
	Adopt bool `json:"adopt,omitempty"`
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
	// Mode is Auto (used when empty): roll the workloads that targets and selector name
	// or, without both, every Deployment, StatefulSet, DaemonSet and Argo Rollout of the
	// namespace whose pods use the Secret; or None: roll nothing.
	// +optional
	Mode RolloutMode `json:"mode,omitempty"`

	// Targets are workloads to roll, such as {kind: Deployment, name: api}, whether or
	// not their pods use the Secret. With targets or selector no others are rolled.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Targets []RolloutTarget `json:"targets,omitempty"`

	// Selector adds the workloads whose own labels it matches, such as matchLabels:
	// {team: payments}, to targets, whether or not their pods use the Secret.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="an empty selector would roll every workload of the namespace: name at least one label in matchLabels or matchExpressions, or leave selector out to roll those that use the Secret"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="the operator of an expression is In, NotIn, Exists or DoesNotExist"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, (e.operator in ['In', 'NotIn']) == (has(e.values) && size(e.values) > 0))",message="In and NotIn need at least one entry in values, and Exists and DoesNotExist take none"
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// Debounce is how long a changed Secret waits for further changes, its own and those
	// of the other Secrets of a workload, so that one rollout serves them all: such as
	// 10s; 2s when empty, 0s for none, at most 5m. Whatever changes meanwhile, a
	// workload waits no longer than five times this.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('5m')",message="debounce is between 0s, for a rollout at once, and 5m"
	Debounce *metav1.Duration `json:"debounce,omitempty"`

	// OnFailure says what happens when new versions do not work, that is when a rollout
	// that they began misses its deadline or its new pods crash: Rollback (used when
	// empty) takes the Secret and the workloads back to the versions that all of them
	// last ran with, and refuses the new ones until a newer one appears; Hold rolls one
	// workload after another and begins no further one; Ignore goes on.
	// +optional
	OnFailure RolloutFailurePolicy `json:"onFailure,omitempty"`
}

// RolloutFailurePolicy says what happens when a rollout fails.
// +kubebuilder:validation:Enum=Rollback;Hold;Ignore
type RolloutFailurePolicy string

// The policies for failed rollouts.
const (
	OnFailureRollback RolloutFailurePolicy = "Rollback"
	OnFailureHold     RolloutFailurePolicy = "Hold"
	OnFailureIgnore   RolloutFailurePolicy = "Ignore"
)

// RolloutTarget names a workload of the namespace.
type RolloutTarget struct {
	// Kind is Deployment, StatefulSet, DaemonSet or Rollout (of Argo Rollouts).
	// +required
	Kind WorkloadKind `json:"kind"`
	// Name of the workload, such as api.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// WorkloadKind is a kind of workload.
// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet;Rollout
type WorkloadKind string

// The kinds of workload.
const (
	WorkloadDeployment  WorkloadKind = "Deployment"
	WorkloadStatefulSet WorkloadKind = "StatefulSet"
	WorkloadDaemonSet   WorkloadKind = "DaemonSet"
	WorkloadArgoRollout WorkloadKind = "Rollout" // of Argo Rollouts
)

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
	// Conditions are Ready, Synced and RolledOut, and where a path has a reminder
	// RotationDue.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ObservedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Path is the path shown by kubectl get: the spec's, or the path or prefix of the
	// first entry of dataFrom, or the path of the first entry of data.
	// +optional
	Path string `json:"path,omitempty"`

	// Version is the synced version of that path; empty for a prefix.
	// +optional
	Version int64 `json:"version,omitempty"`

	// Sources are the synced paths and versions, those below prefixes among them. A
	// rotation of one of them waits for what uses the Secret.
	// +optional
	// +listType=atomic
	Sources []SourceStatus `json:"sources,omitempty"`

	// ServiceAccount is the account that the content of the Secret was read for; empty
	// after it was taken away because access is denied.
	// +optional
	ServiceAccount *ServiceAccountStatus `json:"serviceAccount,omitempty"`

	// Target is the Secret that was written.
	// +optional
	Target *TargetStatus `json:"target,omitempty"`

	// Workloads are those that use the Secret, or that spec.rollout names, and how far
	// each has rolled.
	// +optional
	// +listType=atomic
	Workloads []WorkloadStatus `json:"workloads,omitempty"`

	// LastGood is what the Secret held when every workload last ran with it: what a
	// failed rollout goes back to. Only with spec.rollout.onFailure Rollback.
	// +optional
	LastGood *GoodContent `json:"lastGood,omitempty"`

	// Rejected is set while the Secret holds older versions than the vault, since a
	// rollout of those named here failed. It goes when a source has another version,
	// when what the spec makes of them changes (see rejected.specChecksum), or the
	// annotation vault.coffer.dev/refresh-requested-at does, and when lastGood cannot be
	// had any more.
	// +optional
	Rejected *RejectedContent `json:"rejected,omitempty"`

	// LastSyncTime is when the Secret was last written.
	// +optional
	LastSyncTime *metav1.Time `json:"lastSyncTime,omitempty"`

	// LastRefreshRequest is the annotation vault.coffer.dev/refresh-requested-at, at
	// most its first 256 bytes, that the operator last acted on. The conditions say
	// what came of it.
	// +optional
	LastRefreshRequest string `json:"lastRefreshRequest,omitempty"`
}

// ServiceAccountStatus is the identity that a Secret was written for. An account that
// is made again under the name of a deleted one has another UID.
type ServiceAccountStatus struct {
	// Name of the account, in the namespace of the VaultSecret.
	Name string `json:"name"`
	// UID of the account.
	UID string `json:"uid"`
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

// SourceVersion is a version of a path.
type SourceVersion struct {
	// Path in the vault.
	Path string `json:"path"`
	// Version of it.
	Version int64 `json:"version"`
}

// GoodContent is content that every workload ran with.
type GoodContent struct {
	// Sources are the versions that it was made from, in the order of status.sources.
	// +listType=atomic
	Sources []SourceVersion `json:"sources"`
	// Inputs is the keyed checksum of the spec and the versions that it was made from.
	Inputs string `json:"inputs"`
	// Checksum is the keyed checksum of the content.
	Checksum string `json:"checksum"`
	// Unstamped are the workloads, as kind/name, whose pod template had no stamp for the
	// Secret: going back takes it away again, so that their old pods fit.
	// +optional
	// +listType=atomic
	Unstamped []string `json:"unstamped,omitempty"`
}

// RejectedContent is content whose rollout failed.
type RejectedContent struct {
	// Sources are the versions that it was made from.
	// +listType=atomic
	Sources []SourceVersion `json:"sources"`
	// RejectedAt is when it was decided to go back.
	RejectedAt metav1.Time `json:"rejectedAt"`
	// Message says which rollout failed, and why.
	Message string `json:"message"`
	// SpecChecksum is a checksum of what the spec said then about the content and its
	// rollouts: path, dataFrom, data, target.type, target.template, rollout.mode and
	// rollout.onFailure. Other fields may change, and the versions stay refused.
	// +optional
	SpecChecksum string `json:"specChecksum,omitempty"`
	// RefreshRequest is the annotation vault.coffer.dev/refresh-requested-at then, at
	// most its first 256 bytes.
	// +optional
	RefreshRequest string `json:"refreshRequest,omitempty"`
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
	// Kind is Deployment, StatefulSet, DaemonSet or Rollout (of Argo Rollouts).
	Kind string `json:"kind"`
	// Name of the workload.
	Name string `json:"name"`
	// State of its rollout.
	State WorkloadState `json:"state"`
	// Message says why, when the state alone does not.
	// +optional
	Message string `json:"message,omitempty"`
	// PendingSince is when the workload came to wait for its rollout: the first change
	// of content that its pods do not have. Of state Pending only.
	// +optional
	PendingSince *metav1.MicroTime `json:"pendingSince,omitempty"`
	// NotBefore is when the wait for further changes of this Secret is over. Those of
	// others may make it longer. Of state Pending only.
	// +optional
	NotBefore *metav1.MicroTime `json:"notBefore,omitempty"`
	// RollingSince is when the operator saw the rollout begin that it began itself. It
	// stays until that has succeeded: all pods run with the content, and none of them
	// crashed for a while. Never with spec.rollout.onFailure Ignore.
	// +optional
	RollingSince *metav1.MicroTime `json:"rollingSince,omitempty"`
}

// WorkloadState is how far a workload has rolled.
// +kubebuilder:validation:Enum=Current;Pending;RollingOut;Failed;Paused;NotFound
type WorkloadState string

// The workload states.
const (
	// WorkloadCurrent: all pods run with the synced content.
	WorkloadCurrent WorkloadState = "Current"
	// WorkloadPending: the rollout is still to begin: further changes are waited for, or
	// the pod template could not be stamped. Whichever operator runs then begins it.
	WorkloadPending WorkloadState = "Pending"
	// WorkloadRollingOut: pods are being replaced.
	WorkloadRollingOut WorkloadState = "RollingOut"
	// WorkloadFailed: the rollout missed its deadline, or its new pods crash.
	WorkloadFailed WorkloadState = "Failed"
	// WorkloadPaused: a paused Deployment, or the OnDelete strategy: the pods
	// change when a person lets them.
	WorkloadPaused WorkloadState = "Paused"
	// WorkloadNotFound: spec.rollout.targets names a workload that does not exist.
	WorkloadNotFound WorkloadState = "NotFound"
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
	// +kubebuilder:default={"observedGeneration":-1}
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
