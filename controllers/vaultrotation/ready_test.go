package vaultrotation

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// runIn is a run in a state, changed by f.
func runIn(state rotation.State, f ...func(*rotation.Run)) *rotation.Run {
	run := &rotation.Run{ID: "1", State: state, PlannedAt: noon, EnteredAt: noon, Definition: definition}
	for _, change := range f {
		change(run)
	}
	return run
}

var definition = rotation.Definition{Name: "a", As: rotation.Identity{Namespace: "payments", ServiceAccount: "rotator"}, Spec: rotation.Spec{Path: "a/b"}}

func TestReady(t *testing.T) {
	held := func(r *rotation.Run) {
		r.Definition.Failure, r.FailedIn, r.Reason = rotation.Hold, rotation.Tested, "why"
	}
	long := strings.Repeat("é", maxReason)
	for name, test := range map[string]struct {
		standing  rotation.Standing
		suspended bool
		reason    string
		message   string // a part of it
		without   string // no part of it; empty when that does not matter
	}{
		"by hand only": {reason: "Scheduled", message: "when somebody asks"},
		"busy":         {standing: rotation.Standing{Busy: true}, reason: "Rotating", message: "another rotation of the path is under way"},
		"scheduled":    {standing: rotation.Standing{Next: noon.Add(time.Hour)}, reason: "Scheduled", message: "due at 2026-11-27T13:00:00Z"},
		"due":          {standing: rotation.Standing{Next: noon.Add(-overdueAfter + time.Second)}, reason: "Scheduled", message: "due at"},
		"overdue":      {standing: rotation.Standing{Next: noon.Add(-overdueAfter)}, reason: "Overdue", message: "due at 2026-11-27T11:55:00Z and has not begun"},
		"suspended":    {suspended: true, reason: "Suspended"},
		"denied":       {standing: rotation.Standing{Denied: true}, reason: "Denied", message: "payments/rotator may not read and rotate a/b, or there is no such path"},
		"planned":      {standing: rotation.Standing{Newest: runIn(rotation.Planned)}, reason: "Rotating", message: "planned"},
		"tried again": {standing: rotation.Standing{Newest: runIn(rotation.Created, func(r *rotation.Run) { r.Attempts, r.Problem = 1, "no route" })},
			reason: "Rotating", message: "created, and what follows is tried again: no route"},
		"propagating": {standing: rotation.Standing{Newest: runIn(rotation.Propagating, func(r *rotation.Run) { r.Moved, r.Total = 1, 3 })},
			reason: "Rotating", message: "1 of 3 consumers"},
		"asked": {standing: rotation.Standing{Newest: runIn(rotation.Propagating, func(r *rotation.Run) { r.Asked, r.Moved, r.Total = true, 1, 3 })},
			reason: "WaitsForApproval", message: "coffer rotation approve a/b"},
		"asked when going back": {standing: rotation.Standing{Newest: runIn(rotation.Withdrawing, func(r *rotation.Run) { r.Asked, r.Moved, r.Total = true, 1, 3 })},
			reason: "WaitsForApproval", message: "approve to go on without the others: coffer rotation approve a/b", without: "cancel"},
		"approved": {standing: rotation.Standing{Newest: runIn(rotation.Propagating, func(r *rotation.Run) { r.Asked, r.Approved = true, true })}, reason: "Rotating"},
		"held":     {standing: rotation.Standing{Newest: runIn(rotation.Failed, held)}, reason: "WaitsForApproval", message: "coffer rotation cancel a/b"},
		"stopped":  {standing: rotation.Standing{Newest: runIn(rotation.Failed, held, func(r *rotation.Run) { r.Stop, r.Forced = "x", true })}, reason: "RotationFailed"},
		"going back": {standing: rotation.Standing{Newest: runIn(rotation.Withdrawing, func(r *rotation.Run) { r.FailedIn, r.Reason = rotation.Propagating, "why" })},
			reason: "RotationFailed", message: "failed when it was propagating: why; it is withdrawing"},
		"rolled back": {standing: rotation.Standing{Next: noon.Add(time.Hour), Newest: runIn(rotation.RolledBack, func(r *rotation.Run) { r.FailedIn, r.Reason = rotation.Set, long })},
			reason: "RotationFailed", message: "the former credential is current"},
		"abandoned": {standing: rotation.Standing{Newest: runIn(rotation.Abandoned, func(r *rotation.Run) { r.FailedIn = rotation.Set })},
			reason: "RotationFailed", message: "revoke it by hand"},
		"failed and overdue": {standing: rotation.Standing{Next: noon.Add(-time.Hour), Newest: runIn(rotation.RolledBack)}, reason: "Overdue"},
		"failed and denied":  {standing: rotation.Standing{Denied: true, Newest: runIn(rotation.Withdrawing, func(r *rotation.Run) { r.FailedIn = rotation.Set })}, reason: "RotationFailed"},
		"denied on the way":  {standing: rotation.Standing{Denied: true, Newest: runIn(rotation.Tested)}, reason: "Denied"},
		"done":               {standing: rotation.Standing{Next: noon.Add(time.Hour), Newest: runIn(rotation.Done)}, reason: "Scheduled"},
	} {
		t.Run(name, func(t *testing.T) {
			it := &item{definition: definition, standing: &test.standing}
			it.definition.Suspended = test.suspended
			got := ready(it, noon)
			isTrue := test.reason == "Scheduled" || test.reason == "Rotating" || test.reason == "Suspended"
			if got.Reason != test.reason || !strings.Contains(got.Message, test.message) || (got.Status == metav1.ConditionTrue) != isTrue {
				t.Errorf("Ready is %s, %s: %s", got.Status, got.Reason, got.Message)
			}
			if test.without != "" && strings.Contains(got.Message, test.without) {
				t.Errorf("the message is %s", got.Message)
			}
			if len(got.Message) > 2048 || strings.ToValidUTF8(got.Message, "") != got.Message {
				t.Errorf("the message has %d bytes: %s", len(got.Message), got.Message)
			}
		})
	}
}

// Every transition is told once, also when several happened between two looks, and none of a run that was told of already.
func TestEventsOfARun(t *testing.T) {
	at := func(state rotation.State, f ...func(*rotation.Run)) *vaultv1alpha1.RotationRun {
		return runOf(runIn(state, f...))
	}
	failedIn := func(in rotation.State) func(*rotation.Run) {
		return func(r *rotation.Run) { r.FailedIn, r.Reason = in, "why" }
	}
	for name, test := range map[string]struct {
		before, now *vaultv1alpha1.RotationRun
		want        []string
	}{
		"none":                        {nil, nil, nil},
		"begun":                       {nil, at(rotation.Planned), []string{"RotationStarted"}},
		"on":                          {at(rotation.Planned), at(rotation.Tested), nil},
		"current":                     {at(rotation.Tested), at(rotation.Propagating), []string{"RotationCurrent"}},
		"consumers move":              {at(rotation.Propagating), at(rotation.Propagating, func(r *rotation.Run) { r.Moved = 3 }), nil},
		"done":                        {at(rotation.Retiring), at(rotation.Done), []string{"RotationDone"}},
		"all between two looks":       {nil, at(rotation.Done), []string{"RotationStarted", "RotationCurrent", "RotationDone"}},
		"failed early":                {at(rotation.Set), at(rotation.RolledBack, failedIn(rotation.Set)), []string{"RotationFailed", "RotationRolledBack"}},
		"failed late":                 {at(rotation.Propagating), at(rotation.Withdrawing, failedIn(rotation.Propagating)), []string{"RotationFailed"}},
		"failed late, in one look":    {at(rotation.Set), at(rotation.Revoking, failedIn(rotation.Propagating)), []string{"RotationCurrent", "RotationFailed"}},
		"rolled back":                 {at(rotation.Revoking, failedIn(rotation.Propagating)), at(rotation.RolledBack, failedIn(rotation.Propagating)), []string{"RotationRolledBack"}},
		"abandoned":                   {at(rotation.Retiring), at(rotation.Abandoned, failedIn(rotation.Retiring)), []string{"RotationFailed", "RotationAbandoned"}},
		"another run":                 {at(rotation.Done), at(rotation.Set, func(r *rotation.Run) { r.ID = "2" }), []string{"RotationStarted"}},
		"it goes on after a failure":  {at(rotation.Failed, failedIn(rotation.Tested)), at(rotation.Current), []string{"RotationCurrent"}},
		"it is not known any more":    {at(rotation.Done), nil, nil},
		"it ended, and is seen again": {at(rotation.Done), at(rotation.Done), nil},
	} {
		t.Run(name, func(t *testing.T) {
			now := &vaultv1alpha1.VaultRotation{Status: vaultv1alpha1.VaultRotationStatus{LastRun: test.now}}
			var got []string
			for _, h := range ofRun(test.before, now) {
				got = append(got, h.reason)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Events (-want +got):\n%s", diff)
			}
		})
	}
}

// It is looked often while something moves, or is about to, and else seldom.
func TestPace(t *testing.T) {
	for name, test := range map[string]struct {
		standing *rotation.Standing
		unsynced bool // the policies are not in force
		want     time.Duration
	}{
		"none in force":      {nil, false, resyncInterval},
		"due in a month":     {&rotation.Standing{Next: noon.Add(720 * time.Hour)}, false, idleInterval},
		"due in a moment":    {&rotation.Standing{Next: noon.Add(3 * time.Second)}, false, 3 * time.Second},
		"due":                {&rotation.Standing{Next: noon.Add(-time.Hour)}, false, busyInterval},
		"by hand only":       {&rotation.Standing{}, false, idleInterval},
		"under way":          {&rotation.Standing{Newest: runIn(rotation.Propagating)}, false, busyInterval},
		"over":               {&rotation.Standing{Newest: runIn(rotation.Done)}, false, idleInterval},
		"denied":             {&rotation.Standing{Denied: true}, false, idleInterval},
		"denied, as it says": {&rotation.Standing{Denied: true}, true, busyInterval},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pace(&rotations{items: []item{{standing: test.standing}}}, noon, !test.unsynced); got != test.want {
				t.Errorf("it is looked again after %v, want %v", got, test.want)
			}
		})
	}
}
