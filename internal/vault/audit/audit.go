// Package audit holds the terms of the audit log: what one entry says and how
// the log is asked. The rows are written and read by package store; who may see
// which is decided by the engine.
package audit

import "time"

// Decision is how an operation ended.
type Decision string

// The decisions.
const (
	// Allowed: the operation was authorised. The entry is durable before any value
	// leaves, so a read that then fails to open has a second entry, Failed.
	Allowed Decision = "allowed"
	// Denied: the caller may not do this, or the path does not exist.
	Denied Decision = "denied"
	// Failed: authorised, or not to be decided, and not done: an integrity check, a
	// compare-and-set, a version that is not there.
	Failed Decision = "failed"
)

// Action is what was asked.
type Action string

// The actions.
const (
	Put      Action = "put"
	Rotate   Action = "rotate"
	Read     Action = "read"
	Check    Action = "check"
	Metadata Action = "metadata"
	List     Action = "list"
	Overdue  Action = "overdue"
	Delete   Action = "delete"
	Audit    Action = "audit"
	Export   Action = "export"
	Explain  Action = "explain"
	// Patch is a new version in which some properties are others than in the current one.
	Patch Action = "patch"
	// Watch is the beginning of a watch of the paths below a prefix, or of one path.
	Watch Action = "watch"
	// Update is a change of metadata or of the access policy, without a new version.
	Update Action = "update"
	// Versions is a list of a path's versions.
	Versions Action = "versions"
	// Rollback and Promote move the label current.
	Rollback Action = "rollback"
	Promote  Action = "promote"
	// Undelete and Destroy are, as Delete, of a whole path; those that follow are of
	// single versions, with an entry for each.
	Undelete         Action = "undelete"
	Destroy          Action = "destroy"
	DeleteVersions   Action = "delete-versions"
	UndeleteVersions Action = "undelete-versions"
	DestroyVersions  Action = "destroy-versions"
	// Policy is a replaced set of VaultPolicies.
	Policy Action = "policy"
	// PolicyList and PolicyShow are looks at the policies in force; Path is sys/policies, and Version
	// the revision of the set that was shown.
	PolicyList Action = "policy-list"
	PolicyShow Action = "policy-show"
	// Consumers is a list of who has which version of a path.
	Consumers Action = "consumers"
	// LeakReport is a look at who had a version of a path. Leak is that somebody says that it is leaked, with the
	// reason in the rule, and has the rotation of the path begin or go on without waiting.
	LeakReport Action = "leak-report"
	Leak       Action = "leak"
	// Acknowledge is what an operator says of the consumers in its cluster. It has a row
	// only where that puts right what was found changed.
	Acknowledge Action = "acknowledge"
	// ConsumersForget removes what the operator of a cluster acknowledged; Path is sys/consumers.
	ConsumersForget Action = "consumers-forget"
	// KeyringStatus, KeyAdd and the others are about the keys of the vault; Path is
	// sys/keyring, and the rule of what was done names the key.
	KeyringStatus Action = "keyring-status"
	KeyAdd        Action = "key-add"
	KeyPromote    Action = "key-promote"
	KeyRetire     Action = "key-retire"
	KeyDestroy    Action = "key-destroy"
	Rewrap        Action = "rewrap"
	// Backup is a copy of the whole database, sealed as it is; Path is sys/backup.
	Backup Action = "backup"
	// Anchor is a row that Coffer writes by itself: it holds the heads of other
	// writers. A search shows anchors only when it asks for them.
	Anchor Action = "anchor"
	// Checkpoint is a row that Coffer writes when it drops months that are old enough: it
	// holds what must be known of their rows.
	Checkpoint Action = "checkpoint"
	// Verify is a check of the whole log, or of a part.
	Verify Action = "verify"
	// RootRewrap is a keyset wrapped anew because the root key is another one now.
	RootRewrap Action = "root-rewrap"
	// RotationSync is a replaced set of rotations; RotationStep is a run of one that went on, with the rule saying from where
	// to where. What it does to the path has entries of its own, in the name of the rotation's service account.
	RotationSync Action = "rotation-sync"
	RotationStep Action = "rotation-step"
	// RotationList and RotationShow are looks at rotations and their runs; those that follow change a run: somebody has it
	// begin, go on or be rolled back, or says that its consumers do not come up.
	RotationList    Action = "rotation-list"
	RotationShow    Action = "rotation-show"
	RotationRun     Action = "rotation-run"
	RotationApprove Action = "rotation-approve"
	RotationCancel  Action = "rotation-cancel"
	RotationFail    Action = "rotation-fail"
	// NotificationTest sends a test to the sinks of notifications; Path is sys/notifications.
	NotificationTest Action = "notification-test"
)

// Actions are all of them, for who offers them to people.
func Actions() []Action {
	return []Action{
		Read, List, Metadata, Versions, Check, Overdue, Put, Rotate, Patch, Update, Rollback, Promote, Delete, Undelete, Destroy,
		DeleteVersions, UndeleteVersions, DestroyVersions, Explain, Policy, PolicyList, PolicyShow, KeyringStatus, KeyAdd, KeyPromote, KeyRetire, KeyDestroy,
		Rewrap, RootRewrap, Backup, Audit, Export, Verify, Watch, Consumers, LeakReport, Leak, Acknowledge, ConsumersForget, Anchor, Checkpoint,
		RotationList, RotationShow, RotationRun, RotationApprove, RotationCancel, RotationFail, RotationStep, RotationSync,
		NotificationTest,
	}
}

// Entry is one row of the log. It never holds a value.
type Entry struct {
	// ID grows with every entry. Two entries written at the same time may be
	// numbered in either order.
	ID int64 `json:"id"`
	// At is the engine's clock, in whole microseconds.
	At      time.Time `json:"at"`
	Cluster string    `json:"cluster,omitempty"`
	// CallerKind is a secret.Kind.
	CallerKind string `json:"callerKind"`
	// Caller is secret.Caller.String: "payments/api", "user:alice", "system:policy-sync".
	Caller      string `json:"caller"`
	Namespace   string `json:"namespace,omitempty"`
	CallerUID   string `json:"callerUID,omitempty"`
	Environment string `json:"environment,omitempty"`
	Action      Action `json:"action"`
	// Path is the path asked for; the prefix, ending in "/" or empty, of a list,
	// an overdue list and an audit search; and empty for a policy change.
	Path string `json:"path"`
	// Version is the version written, served or asked for; 0 when none.
	Version  int64    `json:"version,omitempty"`
	Decision Decision `json:"decision"`
	// Rule is what decided, such as "VaultPolicy admins rule 1", or why a failed
	// operation failed. Of a list or a search it is what allowed the entries that were shown, five rules at most and how many
	// more; of an export, those of the page that was audited; of an overdue list, those with a reminder.
	Rule      string `json:"rule,omitempty"`
	Address   string `json:"address,omitempty"`
	RequestID string `json:"requestID,omitempty"`
}

// Limits of Query.Limit.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Query selects entries, newest first. Zero fields select all.
type Query struct {
	// PathPrefix selects, when it ends in "/", entries about all below it and about
	// itself, such as lists, and otherwise entries about the one path:
	// "production/payments/database" is not "production/payments/database-old".
	PathPrefix string
	// Caller is compared with Entry.Caller.
	Caller   string
	Action   Action
	Decision Decision
	// Since is inclusive and Until exclusive.
	Since, Until time.Time
	// Before selects entries with a smaller ID: what the engine returned as next
	// gives the next page.
	Before int64
	// Limit is 1 to MaxLimit; 0 is DefaultLimit.
	Limit int
}

// Normal returns q with its Limit in range.
func (q Query) Normal() Query {
	if q.Limit <= 0 {
		q.Limit = DefaultLimit
	}
	q.Limit = min(q.Limit, MaxLimit)
	return q
}
