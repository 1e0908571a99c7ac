package notification

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// Type says what happened, as CloudEvents types are: a reversed domain first.
type Type string

// The types.
const (
	// RotationStarted: a rotation is due, or somebody asked for it.
	RotationStarted Type = "dev.coffer.rotation.started"
	// RotationCurrent: the new version is the one that a read gets.
	RotationCurrent Type = "dev.coffer.rotation.current"
	// RotationDone: the former credential is accepted no more.
	RotationDone Type = "dev.coffer.rotation.done"
	// RotationFailed: it does not go on, and is rolled back unless its owner wants it held.
	RotationFailed Type = "dev.coffer.rotation.failed"
	// RotationRolledBack: after a failure, the former credential is current and the new one accepted no more.
	RotationRolledBack Type = "dev.coffer.rotation.rolledback"
	// RotationAbandoned: somebody else changed the path, or the run was given up. Both credentials may still be accepted.
	RotationAbandoned Type = "dev.coffer.rotation.abandoned"
	// RotationWaiting: somebody is to approve or, unless it is withdrawing, to cancel.
	RotationWaiting Type = "dev.coffer.rotation.waiting"
	// RotationNotRevoked: the credential that is to go could not be revoked for some minutes. It is tried on.
	RotationNotRevoked Type = "dev.coffer.rotation.notrevoked"
	// SecretOverdue: a version is older than its reminder or its rotation wants.
	SecretOverdue Type = "dev.coffer.secret.overdue"
	// SecretLeaked: somebody declared a credential leaked.
	SecretLeaked Type = "dev.coffer.secret.leaked"
	// Test is what somebody sends to see whether it arrives.
	Test Type = "dev.coffer.notification.test"
)

// Types are those of which Coffer tells by itself, in the order in which people read of them.
func Types() []Type {
	return []Type{
		RotationStarted, RotationCurrent, RotationDone, RotationFailed, RotationRolledBack, RotationAbandoned, RotationWaiting, RotationNotRevoked,
		SecretOverdue, SecretLeaked,
	}
}

// Event is one thing that happened. Fields that are not known, or of which there is nothing to say, are empty.
type Event struct {
	// ID is the same however often the event is delivered, and by whichever replica. It has no dot.
	ID   string    `json:"id"`
	Type Type      `json:"type"`
	Time time.Time `json:"time"`
	// Vault is the id of the vault.
	Vault string `json:"vault"`
	// Cluster is the one whose rotation it is.
	Cluster string `json:"cluster,omitempty"`
	Path    string `json:"path,omitempty"`
	// Rotation is the name of the definition, and Run the id of its run.
	Rotation string `json:"rotation,omitempty"`
	Run      string `json:"run,omitempty"`
	// State is that of the run.
	State string `json:"state,omitempty"`
	// FromVersion was current when the run began, and ToVersion is the new one. Of what is overdue or leaked, FromVersion is the one.
	FromVersion int64 `json:"fromVersion,omitempty"`
	ToVersion   int64 `json:"toVersion,omitempty"`
	// Consumers is how many there are, nil when they were not counted.
	Consumers *Consumers `json:"consumers,omitempty"`
	// Reason is why it failed, or what goes wrong.
	Reason string `json:"reason,omitempty"`
	// By is who asked for it; empty when it came by itself.
	By string `json:"by,omitempty"`
	// DueAt is when the version was to be replaced, and DaysOverdue counts whole days since.
	DueAt       *time.Time `json:"dueAt,omitempty"`
	DaysOverdue int        `json:"daysOverdue,omitempty"`
}

// Consumers counts those of a path, and those of them that have its current version.
type Consumers struct {
	Moved int `json:"moved"`
	Total int `json:"total"`
}

// Summary says in a sentence or two, for people, what happened and what to do.
func (e *Event) Summary() string {
	switch e.Type {
	case RotationStarted:
		return fmt.Sprintf("%s is being rotated%s.", e.Path, e.asked())
	case RotationCurrent:
		return fmt.Sprintf("%s: the new version %d is current.", e.Path, e.ToVersion)
	case RotationDone:
		return fmt.Sprintf("%s is rotated to version %d%s, and the former credential is retired.", e.Path, e.ToVersion, e.moved(", with "))
	case RotationFailed:
		return fmt.Sprintf("The rotation of %s failed: %s.", e.Path, e.because())
	case RotationRolledBack:
		return fmt.Sprintf("The rotation of %s is rolled back, and the new credential is revoked: %s.", e.Path, e.because())
	case RotationAbandoned:
		return fmt.Sprintf("The rotation of %s was given up: %s. Both credentials may still be accepted; see coffer rotation show %s.", e.Path, e.because(), e.Path)
	case RotationWaiting:
		return fmt.Sprintf("The rotation of %s waits for somebody%s: %s.", e.Path, e.moved(", with "), e.choice())
	case RotationNotRevoked:
		return fmt.Sprintf("A credential of %s cannot be revoked, and is tried on: %s.", e.Path, e.because())
	case SecretOverdue:
		return fmt.Sprintf("%s is overdue%s: its version %d was to be replaced on %s.", e.Path, e.late(), e.FromVersion, e.due())
	case SecretLeaked:
		return e.leaked()
	case Test:
		return fmt.Sprintf("A test%s: notifications of Coffer arrive here.", e.asked())
	}
	return string(e.Type)
}

// choice are the commands by which a rotation goes on that waits. One that goes back already is not to be cancelled.
func (e *Event) choice() string {
	approve := "coffer rotation approve " + e.Path
	if e.State == string(rotation.Withdrawing) {
		return approve
	}
	return approve + ", or coffer rotation cancel " + e.Path
}

func (e *Event) asked() string {
	if e.By == "" {
		return ""
	}
	return " (asked for by " + e.By + ")"
}

func (e *Event) leaked() string {
	if e.Run == "" {
		return fmt.Sprintf("Version %d of %s is declared leaked%s, and no rotation replaces it: revoke it at its own system. coffer leak %s --version %d --dry-run says who had it.",
			e.FromVersion, e.Path, e.declared(), e.Path, e.FromVersion)
	}
	return fmt.Sprintf("%s is declared leaked%s: its former credential is retired without waiting for anybody.", e.Path, e.declared())
}

func (e *Event) declared() string {
	if e.By == "" {
		return ""
	}
	return " by " + e.By
}

func (e *Event) because() string {
	if e.Reason == "" {
		return "no reason is known"
	}
	return e.Reason
}

func (e *Event) moved(before string) string {
	if e.Consumers == nil {
		return ""
	}
	return fmt.Sprintf("%s%d of %d consumers moved", before, e.Consumers.Moved, e.Consumers.Total)
}

func (e *Event) late() string {
	switch e.DaysOverdue {
	case 0:
		return ""
	case 1:
		return " by a day"
	}
	return fmt.Sprintf(" by %d days", e.DaysOverdue)
}

func (e *Event) due() string {
	if e.DueAt == nil {
		return "a day that is not known"
	}
	return e.DueAt.UTC().Format(time.DateOnly)
}

// TestBy is a test that by asked for.
func TestBy(by string, now time.Time) Event {
	return Event{ID: "test-" + uuid.NewString(), Type: Test, Time: now, By: by}
}

// Answer is how a sink took a test.
type Answer struct {
	Sink, Kind string
	Delivered  bool
	// Detail says why it did not arrive, and what to do.
	Detail string
}
