package v1alpha1

// EnvironmentLabel on a Namespace names its environment, such as "production".
const EnvironmentLabel = "vault.coffer.dev/environment"

// InjectionLabel on a Namespace, with the value InjectionEnabled, asks for the ConfigMap
// coffer-ca, and lets pods of the namespace be given what the SDK needs when they ask for
// it: by InjectLabel with the value "true".
const (
	InjectionLabel   = "vault.coffer.dev/injection"
	InjectionEnabled = "enabled"
	InjectLabel      = "vault.coffer.dev/inject"
)

// AuthorityOfLabel on a ConfigMap coffer-ca says that it is a copy, and of which
// installation's authority: it has the namespace of that one.
const AuthorityOfLabel = "vault.coffer.dev/authority-of"

// Annotations on Secrets and pod templates.
const (
	// ChecksumAnnotation on a Secret is the keyed checksum of its content.
	ChecksumAnnotation = "vault.coffer.dev/checksum"
	// InputsAnnotation on a Secret is the keyed checksum of what its content was made
	// from: the spec and the versions.
	InputsAnnotation = "vault.coffer.dev/inputs"
	// VaultAnnotation on a Secret is a keyed checksum that tells the vault it was
	// written from: it changes with the vault's keys.
	VaultAnnotation = "vault.coffer.dev/vault"
	// ManagedMetadataAnnotation on a Secret names the labels and annotations that
	// came from spec.target; on a VaultSecret, those that came from the template of a
	// ClusterVaultSecret.
	ManagedMetadataAnnotation = "vault.coffer.dev/managed-metadata"
	// OwnerUIDAnnotation on a Secret is the UID of the VaultSecret that owns a
	// retained Secret, which has no owner reference so that it is not garbage
	// collected.
	OwnerUIDAnnotation = "vault.coffer.dev/owner-uid"
	// RetainedBecauseAnnotation on a Secret that is kept without a right to its content
	// (spec.deletionPolicy is Retain) is the reason, that of the VaultSecret's condition
	// Synced. The Secret is not kept in step while it is there.
	RetainedBecauseAnnotation = "vault.coffer.dev/retained-because"
	// RetainedSinceAnnotation is the time, after RFC 3339, since when that is so.
	RetainedSinceAnnotation = "vault.coffer.dev/retained-since"
	// AdoptByAnnotation on a Secret names the VaultSecret that may take it over, when
	// that says spec.target.adopt. A person puts it there.
	AdoptByAnnotation = "vault.coffer.dev/adopt-by"
	// StampAnnotationPrefix and a Secret's name on a pod template hold the keyed
	// checksum of the content that the pods were rolled for.
	StampAnnotationPrefix = "checksum.vault.coffer.dev/"
)

// RefreshAnnotation on a VaultSecret asks for a reconcile now whenever it changes;
// by convention it holds the time. status.lastRefreshRequest has it when that is
// done.
const RefreshAnnotation = "vault.coffer.dev/refresh-requested-at"

// RotateAnnotation on a VaultRotation asks for a rotation whenever it changes; by
// convention it holds the time. status.lastRotateRequest has it when that has begun.
const RotateAnnotation = "vault.coffer.dev/rotate-requested-at"

// Labels that Coffer writes on its Secrets.
const (
	// ManagedByLabel and ManagedByValue mark what Coffer wrote.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedByValue = "coffer"
)

// Condition types of a VaultSecret, after the kstatus conventions.
const (
	// ConditionReady is the summary: the Secret is synced and workloads have it.
	ConditionReady = "Ready"
	// ConditionSynced: the Secret holds the wanted versions.
	ConditionSynced = "Synced"
	// ConditionRolledOut: every workload that uses the Secret runs with it.
	ConditionRolledOut = "RolledOut"
	// ConditionRotationDue is True when the current version of a path is older than the reminder on it allows. It is there when a path has a
	// reminder, and has no part in ConditionReady.
	ConditionRotationDue = "RotationDue"
)

// Reasons of ConditionRotationDue.
const (
	// ReasonRotationOverdue: a path is to be rotated.
	ReasonRotationOverdue = "RotationOverdue"
	// ReasonRotationNotDue: none is yet.
	ReasonRotationNotDue = "RotationNotDue"
)

// Reasons of the conditions.
const (
	// ReasonSynced: the Secret holds what the vault holds.
	ReasonSynced = "Synced"
	// ReasonSuspended: spec.suspend is true.
	ReasonSuspended = "Suspended"
	// ReasonDenied: the service account may not read a path, or it does not exist.
	ReasonDenied = "Denied"
	// ReasonVersionNotFound: a pinned version does not exist.
	ReasonVersionNotFound = "VersionNotFound"
	// ReasonVersionDeleted: a pinned version is deleted, and can be undeleted.
	ReasonVersionDeleted = "VersionDeleted"
	// ReasonVersionDestroyed: a pinned version is gone for good.
	ReasonVersionDestroyed = "VersionDestroyed"
	// ReasonServiceAccountNotFound: spec.serviceAccountName names none.
	ReasonServiceAccountNotFound = "ServiceAccountNotFound"
	// ReasonPropertyNotFound: a value has no such property, or is not decodable.
	ReasonPropertyNotFound = "PropertyNotFound"
	// ReasonTemplateFailed: a template cannot be rendered.
	ReasonTemplateFailed = "TemplateFailed"
	// ReasonInvalidSpec: the spec asks for something impossible.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonKeyConflict: two sources give one key, and nothing says which counts.
	ReasonKeyConflict = "KeyConflict"
	// ReasonInvalidContent: the content does not fit the type of the Secret.
	ReasonInvalidContent = "InvalidContent"
	// ReasonTargetTaken: another VaultSecret has the target.
	ReasonTargetTaken = "TargetTaken"
	// ReasonSecretNotOwned: the target exists and is not this VaultSecret's.
	ReasonSecretNotOwned = "SecretNotOwned"
	// ReasonSecretWriteFailed: the API server refused the Secret.
	ReasonSecretWriteFailed = "SecretWriteFailed"
	// ReasonVaultUnavailable: the vault's database cannot be reached.
	ReasonVaultUnavailable = "VaultUnavailable"
	// ReasonIntegrityFailed: the stored secret fails its integrity check.
	ReasonIntegrityFailed = "IntegrityFailed"
	// ReasonRolledOut: every workload runs with the synced content.
	ReasonRolledOut = "RolledOut"
	// ReasonNoWorkloads: no workload uses the Secret, or has the labels of
	// spec.rollout.selector.
	ReasonNoWorkloads = "NoWorkloads"
	// ReasonRolloutDisabled: spec.rollout.mode is None.
	ReasonRolloutDisabled = "RolloutDisabled"
	// ReasonWorkloadNotFound: spec.rollout.targets names a workload that does not exist.
	ReasonWorkloadNotFound = "WorkloadNotFound"
	// ReasonPending: a workload waits for further changes before it is rolled.
	ReasonPending = "Pending"
	// ReasonRollingOut: pods are being replaced.
	ReasonRollingOut = "RollingOut"
	// ReasonRolloutFailed: a rollout missed its deadline, or its new pods crash.
	ReasonRolloutFailed = "RolloutFailed"
	// ReasonRolledBack: a rollout failed, so the Secret holds the versions that all
	// workloads last ran with, and newer ones are refused.
	ReasonRolledBack = "RolledBack"
	// ReasonRolloutPaused: a workload waits for a person.
	ReasonRolloutPaused = "RolloutPaused"
	// ReasonEnforced: the engine enforces this generation of the VaultPolicy.
	ReasonEnforced = "Enforced"
	// ReasonBlocked: another VaultPolicy that denies something is invalid, so no
	// change of policy takes effect.
	ReasonBlocked = "Blocked"
	// ReasonNoNamespaces: no namespace has the labels of a ClusterVaultSecret's selector.
	ReasonNoNamespaces = "NoNamespaces"
	// ReasonNamespacesNotReady: in some namespaces of a ClusterVaultSecret the
	// VaultSecret is not ready.
	ReasonNamespacesNotReady = "NamespacesNotReady"
	// ReasonProgressing: a VaultSecret of a ClusterVaultSecret has no outcome yet.
	ReasonProgressing = "Progressing"
	// ReasonVaultSecretNotOwned: a VaultSecret of the name is not the
	// ClusterVaultSecret's.
	ReasonVaultSecretNotOwned = "VaultSecretNotOwned"
	// ReasonVaultSecretWriteFailed: the API server refused the VaultSecret of a
	// namespace.
	ReasonVaultSecretWriteFailed = "VaultSecretWriteFailed"
	// ReasonScheduled: the rotation is in force, and none is under way.
	ReasonScheduled = "Scheduled"
	// ReasonRotating: a rotation is under way.
	ReasonRotating = "Rotating"
	// ReasonWaitsForApproval: a rotation waits until somebody approves it or, unless it is withdrawing, cancels it.
	ReasonWaitsForApproval = "WaitsForApproval"
	// ReasonRotationFailed: the last rotation failed, or is being rolled back.
	ReasonRotationFailed = "RotationFailed"
	// ReasonOverdue: a rotation is due, and has not begun.
	ReasonOverdue = "Overdue"
	// ReasonPathTaken: an older VaultRotation has the path.
	ReasonPathTaken = "PathTaken"
)

// Reasons of events that are no reasons of a condition.
const (
	// EventServiceAccountReplaced: the account that the VaultSecret names was deleted and
	// made anew, and may read what the former might.
	EventServiceAccountReplaced = "ServiceAccountReplaced"
	// EventLastGoodLost: the versions that the Secret went back to are deleted, destroyed
	// or may not be read any more, so those that were refused are tried again.
	EventLastGoodLost = "LastGoodLost"
	// EventRotationStarted: a rotation has begun.
	EventRotationStarted = "RotationStarted"
	// EventRotationCurrent: the new version is the one that a read gets.
	EventRotationCurrent = "RotationCurrent"
	// EventRotationDone: the former credential is accepted no more.
	EventRotationDone = "RotationDone"
	// EventRotationRolledBack: the new credential is accepted no more.
	EventRotationRolledBack = "RotationRolledBack"
	// EventRotationAbandoned: a rotation ended, and both credentials may be accepted still.
	EventRotationAbandoned = "RotationAbandoned"
)
