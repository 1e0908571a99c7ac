package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultRotationSpec says how the credential at one path of the vault is rotated.
type VaultRotationSpec struct {
	// Path is the vault path whose credential is rotated, such as
	// production/payments/database. It must exist. Of two VaultRotations of one path, the
	// older one keeps it.
	// +required
	Path VaultPath `json:"path"`

	// ServiceAccountRef is the account in whose name the path is read and rotated, such as
	// {namespace: payments, name: rotator}. It must exist, and needs the capabilities read and
	// rotate there; the rotation can do no more than it.
	// +required
	ServiceAccountRef ServiceAccountReference `json:"serviceAccountRef"`

	// Schedule says when a rotation is due. Without it none is due by time: it is rotated by
	// hand (coffer rotation run), when the annotation vault.coffer.dev/rotate-requested-at
	// changes, and before a generated certificate ends.
	// +optional
	Schedule *RotationSchedule `json:"schedule,omitempty"`

	// Method makes the new credential, and has the system accept it.
	// +required
	Method RotationMethod `json:"method"`

	// Consumed says when the former credential may be given up.
	// +optional
	Consumed RotationConsumed `json:"consumed,omitzero"`

	// OnFailure says what becomes of a rotation that fails: RollBack (used when empty) makes
	// the former credential current again, and revokes the new one when nobody has it any
	// more; Hold leaves both accepted until somebody approves or cancels (coffer rotation
	// approve|cancel).
	// +optional
	OnFailure RotationFailurePolicy `json:"onFailure,omitempty"`

	// Attempts is how often a step is tried before the rotation fails, over some minutes: 8
	// when 0. Retiring the former credential, and revoking the new one, are tried for ever.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Attempts int32 `json:"attempts,omitempty"`

	// Suspend has nothing due by time while true. A rotation that is under way goes on, and
	// one that somebody asks for is done.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ServiceAccountReference names a service account of the cluster.
type ServiceAccountReference struct {
	// Namespace of the account, such as payments.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a namespace is like payments: a-z, 0-9 and '-', beginning and ending with a letter or digit"
	Namespace string `json:"namespace"`
	// Name of the account, such as rotator.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="a service account's name is like rotator: a-z, 0-9, '-' and '.', and each part between dots begins and ends with a letter or digit"
	Name string `json:"name"`
}

// RotationSchedule says when a rotation is due.
//
// +kubebuilder:validation:XValidation:rule="has(self.every) != has(self.cron)",message="a schedule has either every, such as 30d, or cron, such as 30 3 * * 1: set exactly one of them, or leave schedule out to rotate by hand only"
type RotationSchedule struct {
	// Every is the time between two rotations, such as 30d or 12h; at least 1m. It counts
	// from the last rotation, one by hand included. A day has 24 hours, whatever the clocks do.
	// +optional
	Every RotationDuration `json:"every,omitempty"`

	// Cron is a line of five fields (minute, hour, day of month, month, day of week), such
	// as 30 3 * * 1, or a name such as @weekly.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.contains('TZ=') && !self.startsWith('@every')",message="the time zone is schedule.timeZone, and a time between two rotations schedule.every: write cron as five fields, such as 30 3 * * 1"
	Cron string `json:"cron,omitempty"`

	// TimeZone is the IANA time zone in which cron and windows are read, such as
	// Europe/Berlin; UTC when empty.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`

	// Windows are when a rotation may begin, such as {days: [Sat, Sun], from: "22:00", to:
	// "06:00"}; at any time when empty. What is due outside of them begins when the next one
	// opens.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Windows []RotationWindow `json:"windows,omitempty"`

	// Jitter is how much later a rotation may begin, such as 2h, so that many with one
	// schedule do not begin together. It is the same each time that it is asked.
	// +optional
	Jitter RotationDuration `json:"jitter,omitempty"`
}

// RotationDuration is a time such as 30d, 12h, 1h30m or 0s: numbers with the units y (365
// days), w, d, h, m, s and ms, the larger ones first.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^(([0-9]{1,9}y)?([0-9]{1,9}w)?([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?|0)$')",message="a time is like 30d, 12h or 1h30m: numbers with the units y, w, d, h, m, s and ms, the larger ones first"
type RotationDuration string

// RotationWindow is a time of the day, on some days of the week, by the clocks of the time
// zone.
type RotationWindow struct {
	// Days are those on which the window begins, such as Mon; every day when empty.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=7
	Days []Weekday `json:"days,omitempty"`
	// From is when it opens, such as "22:00".
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",message="from is a time of the day from 00:00 to 23:59, such as \"22:00\" (in quotes)"
	From string `json:"from"`
	// To is when it closes, such as "06:00": of the next day when it is not after from;
	// "24:00" is the end of the day.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="self.matches('^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$')",message="to is a time of the day from 00:00 to 24:00, such as \"06:00\" (in quotes)"
	To string `json:"to"`
}

// Weekday is a day of the week.
// +kubebuilder:validation:Enum=Mon;Tue;Wed;Thu;Fri;Sat;Sun
type Weekday string

// RotationConsumed says when the former credential may be given up.
type RotationConsumed struct {
	// Grace is how long the former credential stays accepted after every consumer has the
	// new one, such as 5m (used when empty); 0s is none.
	// +optional
	Grace RotationDuration `json:"grace,omitempty"`

	// Wait is how long consumers are waited for, such as 1d (used when empty).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="wait is longer than 0s; to go on at once without the consumers that have not moved, set it to 1s and then to Proceed"
	Wait RotationDuration `json:"wait,omitempty"`

	// Then says what happens after that: Ask (used when empty) waits on, until somebody
	// approves or cancels; Proceed gives the former credential up, and consumers that have
	// not moved break.
	// +optional
	Then RotationWaitPolicy `json:"then,omitempty"`
}

// RotationWaitPolicy says what happens when consumers were waited for long enough.
// +kubebuilder:validation:Enum=Ask;Proceed
type RotationWaitPolicy string

// The wait policies.
const (
	RotationAsk     RotationWaitPolicy = "Ask"
	RotationProceed RotationWaitPolicy = "Proceed"
)

// RotationFailurePolicy says what becomes of a rotation that fails.
// +kubebuilder:validation:Enum=RollBack;Hold
type RotationFailurePolicy string

// The failure policies.
const (
	RotationRollBack RotationFailurePolicy = "RollBack"
	RotationHold     RotationFailurePolicy = "Hold"
)

// VaultRotationStatus is what the operator last saw.
type VaultRotationStatus struct {
	// Conditions holds Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ObservedGeneration is the generation of the spec that the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// LastRun is the newest rotation, under way or over; none while there was none.
	// +optional
	LastRun *RotationRun `json:"lastRun,omitempty"`

	// NextRun is when a rotation is due, by the schedule or before a certificate ends; none
	// while none is, also because one is under way.
	// +optional
	NextRun *metav1.Time `json:"nextRun,omitempty"`

	// Overdue says that a rotation is due by time since some minutes, and was not done: none
	// has begun, or it failed.
	// +optional
	Overdue bool `json:"overdue,omitempty"`

	// LastRotateRequest is the annotation vault.coffer.dev/rotate-requested-at, at most its
	// first 256 bytes, that the operator last acted on.
	// +optional
	LastRotateRequest string `json:"lastRotateRequest,omitempty"`
}

// RotationRun is how one rotation went so far. It holds no value.
type RotationRun struct {
	// ID of the run; audit rows about it have it as their request.
	ID string `json:"id"`

	// State is planned, created, set, tested, current, propagating, retiring or done; after
	// a failure failed, withdrawing, revoking, rolledBack or abandoned.
	State string `json:"state"`

	// Cause is schedule, hand or event.
	Cause string `json:"cause"`

	// StartedAt is when it was planned.
	StartedAt metav1.Time `json:"startedAt"`

	// EndedAt is when it was done, rolled back or abandoned.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`

	// Version is the new version of the path; 0 until it is made.
	// +optional
	Version int64 `json:"version,omitempty"`

	// Consumers is how many of the known consumers have the version that is current, of how
	// many, such as 2/3; empty before they were counted.
	// +optional
	Consumers string `json:"consumers,omitempty"`

	// ConsumersMoved is the first number of consumers.
	// +optional
	ConsumersMoved int32 `json:"consumersMoved,omitempty"`

	// ConsumersTotal is the second number of consumers.
	// +optional
	ConsumersTotal int32 `json:"consumersTotal,omitempty"`

	// FailedIn is the state in which it failed; empty when it did not.
	// +optional
	FailedIn string `json:"failedIn,omitempty"`

	// Reason says why it failed, or, while a step is tried again, what went wrong last; at
	// most 512 bytes.
	// +optional
	Reason string `json:"reason,omitempty"`

	// WaitsFor says whom or what it waits for.
	// +optional
	WaitsFor string `json:"waitsFor,omitempty"`
}

// VaultRotation has the credential at one path of the vault rotated: when it is due, how a
// new one is made and set in the system that it is for, and when the former one is given up.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=vrot,categories=coffer
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.spec.path`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.lastRun.state`
// +kubebuilder:printcolumn:name="Consumers",type=string,JSONPath=`.status.lastRun.consumers`
// +kubebuilder:printcolumn:name="Last",type=date,JSONPath=`.status.lastRun.startedAt`
// +kubebuilder:printcolumn:name="Next",type=string,JSONPath=`.status.nextRun`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VaultRotation struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// Spec says what is wanted.
	// +required
	Spec VaultRotationSpec `json:"spec"`
	// Status says what is.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status VaultRotationStatus `json:"status,omitzero"`
}

// VaultRotationList is a list of VaultRotations.
// +kubebuilder:object:root=true
type VaultRotationList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []VaultRotation `json:"items"`
}
