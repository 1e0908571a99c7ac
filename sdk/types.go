package sdk

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Metadata is everything about a secret but its value.
type Metadata struct {
	Path    string `json:"path" doc:"Path of the secret" example:"production/payments/database"`
	Version int64  `json:"version" doc:"Version that this is about, counted from 1"`
	// Description, Tags and RotateAfterDays are the owner's; 0 days is no reminder.
	Description     string            `json:"description,omitempty" doc:"What the secret is for"`
	Tags            map[string]string `json:"tags,omitempty" doc:"Tags of the owner"`
	RotateAfterDays int               `json:"rotateAfterDays,omitempty" doc:"Days after which a rotation is due; no reminder when absent"`
	Access          AccessPolicy      `json:"access" doc:"Who may read the secret besides those whom a VaultPolicy allows"`
	// MaxVersions is how many versions the path keeps; 0 is all.
	MaxVersions int `json:"maxVersions,omitempty" doc:"How many versions the path keeps; all when absent"`
	// Labels are those of this version: current, previous, pending.
	Labels []string `json:"labels,omitempty" nullable:"false" doc:"Which of current, previous and pending this version is"`
	// CreatedAt and CreatedBy are of this version, not of the path.
	CreatedAt time.Time `json:"createdAt" doc:"When this version was written"`
	CreatedBy string    `json:"createdBy" doc:"Who wrote this version" example:"user:alice"`
}

// AccessPolicy is the policy on the secret itself. A read needs a match in both
// lists; with an empty list nobody is allowed.
type AccessPolicy struct {
	AllowedServices     []string `json:"allowedServices" nullable:"false" doc:"Service accounts as namespace/name, namespace/* or *"`
	AllowedEnvironments []string `json:"allowedEnvironments" nullable:"false" doc:"Environments, or *"`
}

// Secret is one version with its value. It prints as its path and version: only
// Value gives the value out.
type Secret struct {
	Metadata
	Value []byte `json:"value" doc:"The value, in base64"`
}

// String names the secret without its value.
func (s Secret) String() string { return fmt.Sprintf("%s@%d", s.Path, s.Version) }

// Format prints String whatever the verb is, so that none prints the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer without the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// PutRequest is a new version of a path. What is nil stays as the path has it.
type PutRequest struct {
	Value           []byte            `json:"value" doc:"The value, in base64; at most 1 MiB before encoding"`
	Description     *string           `json:"description,omitempty" doc:"What the secret is for"`
	Tags            map[string]string `json:"tags,omitempty" doc:"Replaces the tags"`
	RotateAfterDays *int              `json:"rotateAfterDays,omitempty" minimum:"0" doc:"Days after which a rotation is due; 0 for no reminder"`
	// Access replaces the access policy; it needs the share capability.
	Access *AccessPolicy `json:"access,omitempty" doc:"Replaces the access policy; needs the share capability"`
	// ExpectedVersion makes the write happen only when the current version is this
	// one; 0 means that the path must not exist.
	ExpectedVersion *int64 `json:"expectedVersion,omitempty" minimum:"0" doc:"Write only when this is the current version; 0: only when the path does not exist"`
	// Pending writes a version that is not current until it is promoted.
	Pending bool `json:"pending,omitempty" doc:"Write a version that is not current until it is promoted; the path must exist"`
	// MaxVersions is how many versions the path keeps, 0 for all: writes destroy the
	// oldest beyond, but none that has a label.
	MaxVersions *int `json:"maxVersions,omitempty" minimum:"0" maximum:"10000" doc:"How many versions the path keeps, 0 for all; the oldest beyond are destroyed, but none that has a label"`
	// IdempotencyKey goes into the header Idempotency-Key. Put and Rotate make one for
	// each call when it is empty; give one to repeat a request in another call.
	IdempotencyKey string `json:"-"`
}

// String describes the request without its value.
func (r PutRequest) String() string { return fmt.Sprintf("a value of %d bytes", len(r.Value)) }

// Format prints String whatever the verb is, so that none prints the value.
func (r PutRequest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue implements slog.LogValuer without the value.
func (r PutRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// PatchRequest changes properties of a value, which is a JSON object.
type PatchRequest struct {
	// Properties is a JSON Merge Patch (RFC 7396): nil removes a property, anything else
	// sets it. In synced Secrets only values whose properties are all text have them.
	Properties map[string]any `json:"properties" minProperties:"1" doc:"JSON Merge Patch (RFC 7396) of the value: null removes a property, anything else sets it; what is not named stays"`
	// ExpectedVersion makes it happen only when the current version is this one.
	ExpectedVersion *int64 `json:"expectedVersion,omitempty" minimum:"1" doc:"Patch only when this is the current version"`
	// IdempotencyKey is as in PutRequest.
	IdempotencyKey string `json:"-"`
}

// String describes the request without its values.
func (r PatchRequest) String() string {
	return fmt.Sprintf("a patch of %d properties", len(r.Properties))
}

// Format prints String whatever the verb is, so that none prints a value.
func (r PatchRequest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue implements slog.LogValuer without the values.
func (r PatchRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// UpdateRequest changes what stands beside a value. What is nil stays as the path has
// it.
type UpdateRequest struct {
	Description *string `json:"description,omitempty" doc:"What the secret is for"`
	// Tags replaces the tags; an empty map takes them away.
	Tags            map[string]string `json:"tags,omitzero" required:"false" doc:"Replaces the tags"`
	RotateAfterDays *int              `json:"rotateAfterDays,omitempty" minimum:"0" doc:"Days after which a rotation is due; 0 for no reminder"`
	// MaxVersions takes effect with the next write.
	MaxVersions *int `json:"maxVersions,omitempty" minimum:"0" maximum:"10000" doc:"How many versions the path keeps, 0 for all; the next write destroys the oldest beyond"`
	// Access replaces the access policy; it needs the share capability, and alone no
	// other.
	Access *AccessPolicy `json:"access,omitempty" doc:"Replaces the access policy; needs the share capability, and alone no other"`
	// ExpectedVersion makes it happen only when this is the current version.
	ExpectedVersion *int64 `json:"expectedVersion,omitempty" minimum:"1" doc:"Update only when this is the current version"`
}

// SecretList is a page of secrets, in byte order of their paths.
type SecretList struct {
	Items []Metadata `json:"items" nullable:"false" doc:"The secrets that the caller may list"`
	// Next is the "after" of the next page; empty on the last page.
	Next string `json:"next,omitempty" doc:"Pass as after to go on; absent on the last page"`
}

// Rotation is how a path with a reminder stands.
type Rotation struct {
	Path            string    `json:"path" doc:"Path of the secret"`
	Version         int64     `json:"version" doc:"Current version"`
	RotateAfterDays int       `json:"rotateAfterDays" doc:"Days after which a rotation is due"`
	RotatedAt       time.Time `json:"rotatedAt" doc:"When the current version was written"`
	DueAt           time.Time `json:"dueAt" doc:"When the next rotation is due"`
	Overdue         bool      `json:"overdue" doc:"Whether that is past"`
}

// RotationList is all paths with a reminder, in byte order.
type RotationList struct {
	Items []Rotation `json:"items" nullable:"false" doc:"The secrets with a reminder that the caller may list"`
}

// Overdue is a path whose current version is older than its RotateAfterDays.
type Overdue struct {
	Path            string    `json:"path" doc:"Path of the secret"`
	Version         int64     `json:"version" doc:"Current version"`
	RotateAfterDays int       `json:"rotateAfterDays" doc:"Days after which a rotation is due"`
	RotatedAt       time.Time `json:"rotatedAt" doc:"When the current version was written"`
	DaysOverdue     int       `json:"daysOverdue" doc:"Whole days past the due time"`
}

// OverdueList is all overdue paths, in byte order.
type OverdueList struct {
	Items []Overdue `json:"items" nullable:"false" doc:"The overdue secrets that the caller may list"`
}

// Explanation says whether a subject may do something on a path, and why.
type Explanation struct {
	Path       string `json:"path" doc:"Path asked about"`
	Capability string `json:"capability" doc:"Capability asked about" example:"read"`
	Subject    string `json:"subject" doc:"Who was asked about" example:"payments/api"`
	// UID is that of the service account that the answer is about.
	UID string `json:"uid,omitempty" doc:"UID that the service account was taken to have"`
	// Environment is the environment that the subject was taken to have.
	Environment string `json:"environment,omitempty" doc:"Environment that the subject was taken to have"`
	Allowed     bool   `json:"allowed" doc:"Whether the subject may do this"`
	Rule        string `json:"rule,omitempty" doc:"What decided; absent when nothing allows it"`
	// Until is zero when the answer stays as long as nothing is changed.
	Until time.Time `json:"until,omitzero" doc:"When the answer becomes another by itself, since a rule ends; absent when never"`
	// Matched holds every rule that is about the question.
	Matched []RuleMatch `json:"matched" nullable:"false" doc:"Every rule about the question, and what came of it"`
}

// RuleMatch is a rule that is about the question, and what came of it.
type RuleMatch struct {
	Rule         string    `json:"rule" doc:"Name of the rule" example:"VaultPolicy admins rule 1"`
	Effect       string    `json:"effect" doc:"Allow or Deny"`
	Outcome      string    `json:"outcome" doc:"applied, expired, other-environment or other-uid"`
	Path         string    `json:"path,omitempty" doc:"Pattern of the rule that selects the path; absent for the secret's own access policy" example:"production/**"`
	Subject      string    `json:"subject" doc:"Entry of the rule that names the subject" example:"serviceaccount payments/*"`
	Environments []string  `json:"environments,omitempty" nullable:"false" doc:"Environments of the rule"`
	ExpiresAt    time.Time `json:"expiresAt,omitzero" doc:"When the rule ends; absent when never"`
}

// Identity is who the server takes the caller to be.
type Identity struct {
	Kind        string   `json:"kind" doc:"ServiceAccount or User"`
	Cluster     string   `json:"cluster" doc:"Cluster that vouches for the caller"`
	Namespace   string   `json:"namespace,omitempty" doc:"Namespace of the service account"`
	Name        string   `json:"name" doc:"Name of the service account or user"`
	UID         string   `json:"uid,omitempty" doc:"UID"`
	Groups      []string `json:"groups,omitempty" nullable:"false" doc:"Groups of a user"`
	Environment string   `json:"environment,omitempty" doc:"Environment of the namespace"`
}

// Problem is the body of every error: RFC 9457, with a stable code.
type Problem struct {
	Type   string `json:"type" doc:"Always about:blank: the code says what happened" example:"about:blank"`
	Title  string `json:"title" doc:"Short text of the status" example:"Not Found"`
	Status int    `json:"status" doc:"HTTP status"`
	Code   Code   `json:"code" doc:"Stable code for programs to switch on" enum:"not_found_or_denied,version_not_found,conflict,key_state,position_lost,invalid,too_large,unauthenticated,rate_limited,unavailable,integrity_failed,internal"`
	Detail string `json:"detail" doc:"What was asked, why it failed, what to do"`
	// Errors names the fields that are wrong. It never holds what they hold.
	Errors []FieldProblem `json:"errors,omitempty" nullable:"false" doc:"The fields that are wrong"`
}

// FieldProblem is one wrong field of a request.
type FieldProblem struct {
	Location string `json:"location" doc:"Where, such as query.path or body.tags"`
	Message  string `json:"message" doc:"What is wrong"`
}
