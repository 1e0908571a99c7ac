package notification

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// OfRun are the events of a run that became after at now; before is nil when it is new. by is who changed it; empty when it went on by
// itself.
func OfRun(before, after *rotation.Run, by string, now time.Time) (events []Event) {
	if before == nil {
		before = &rotation.Run{}
	}
	if after.RevokeOld && !before.RevokeOld {
		event := ofRun(SecretLeaked, after, now)
		event.By = cmp.Or(by, after.By)
		events = append(events, event)
	}
	if before.State != after.State {
		if t, told := entered(before.State, after.State); told {
			events = append(events, ofRun(t, after, now))
		}
	}
	if after.NeedsSomebody() && !before.NeedsSomebody() {
		event := ofRun(RotationWaiting, after, now)
		event.ID += fmt.Sprintf("-%d", now.UnixMicro()) // within one step it may wait, go on by itself, and wait again
		events = append(events, event)
	}
	if cannotRevoke(after) && !cannotRevoke(before) {
		event := ofRun(RotationNotRevoked, after, now)
		event.Reason = after.Problem
		events = append(events, event)
	}
	return events
}

// entered is what is told of a state that was entered.
func entered(from, to rotation.State) (Type, bool) {
	switch to {
	case rotation.Planned:
		return RotationStarted, true
	case rotation.Current:
		return RotationCurrent, from != rotation.Failed // one that goes on after a failure was told of before
	case rotation.Done:
		return RotationDone, true
	case rotation.Failed:
		return RotationFailed, true
	case rotation.RolledBack:
		return RotationRolledBack, true
	case rotation.Abandoned:
		return RotationAbandoned, true
	default:
		return "", false
	}
}

// cannotRevoke reports whether a credential that is to go was tried to be revoked as often as the definition gives other steps up after.
func cannotRevoke(r *rotation.Run) bool {
	return (r.State == rotation.Retiring || r.State == rotation.Revoking) && r.Attempts >= r.Definition.MaxAttempts()
}

func ofRun(t Type, r *rotation.Run, now time.Time) Event {
	e := Event{
		ID: idOf(t, r), Type: t, Time: now, Cluster: r.Cluster, Path: r.Definition.Path, Rotation: r.Definition.Name, Run: r.ID, State: string(r.State),
		FromVersion: r.From, ToVersion: r.To, Reason: r.Reason, By: r.By,
	}
	if r.Total > 0 {
		e.Consumers = &Consumers{Moved: r.Moved, Total: r.Total}
	}
	return e
}

// idOf counts the steps of the run: a state may be entered again.
func idOf(t Type, r *rotation.Run) string {
	name := string(t)
	return fmt.Sprintf("%s-%d-%s", r.ID, r.Steps, name[strings.LastIndex(name, ".")+1:])
}
