package vault_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// startRotations makes a vault that tells, and a run of a rotation of each path.
func startRotations(t *testing.T, c vaulttest.Config, paths ...string) *vaulttest.Env {
	t.Helper()
	c.NoRedis, c.Notify = true, true
	env := vaulttest.StartWith(t, c)
	var definitions []rotation.Definition
	for _, p := range paths {
		env.Put(t, p, "v")
		definitions = append(definitions, rotationOf(p))
	}
	_, err := env.Engine.ReplaceRotations(t.Context(), env.Admin.Cluster, definitions)
	must(t, err)
	for _, p := range paths {
		_, err := env.Engine.RunRotation(t.Context(), env.Admin, path(p), rotation.Request{})
		must(t, err)
	}
	return env
}

// route routes what waits to the sinks, and returns which events there were.
func route(t *testing.T, e *vault.Engine, sinks ...string) (events []string) {
	t.Helper()
	_, err := e.RouteNotifications(t.Context(), func(e *notification.Event) []string {
		events = append(events, string(e.Type)+" "+e.Path)
		return sinks
	})
	must(t, err)
	return events
}

// TestRunsAreTold: with each state that is told an event is durable, and with no other.
func TestRunsAreTold(t *testing.T) {
	env := startRotations(t, vaulttest.Config{}, "p/one")
	if diff := cmp.Diff([]string{"dev.coffer.rotation.started p/one"}, route(t, env.Engine)); diff != "" {
		t.Error(diff)
	}
	if again := route(t, env.Engine); len(again) > 0 {
		t.Errorf("what was routed comes again: %s", again)
	}
	claim, err := env.Engine.ClaimRotation(t.Context(), time.Minute)
	must(t, err)
	_, err = env.Engine.AdvanceRotation(t.Context(), claim, vault.RotationProgress{Outcome: rotation.Outcome{Err: errors.New("it is down")}, Pace: rotation.UsualPace()})
	must(t, err)
	if told := route(t, env.Engine); len(told) > 0 {
		t.Errorf("an attempt is told: %s", told)
	}
	_, err = env.Engine.CancelRotation(t.Context(), env.Admin, path("p/one"))
	must(t, err)
	exec(t, env, `UPDATE rotation_runs SET look_at = now() - interval '1 second'`)
	claim, err = env.Engine.ClaimRotation(t.Context(), time.Minute)
	must(t, err)
	for held := true; held; {
		held, err = env.Engine.AdvanceRotation(t.Context(), claim, vault.RotationProgress{Pace: rotation.UsualPace(), Lease: time.Minute})
		must(t, err)
	}
	want := []string{"dev.coffer.rotation.failed p/one", "dev.coffer.rotation.rolledback p/one"}
	got := route(t, env.Engine)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestNothingIsToldUnlessWanted: without somebody who delivers, events would only grow in number.
func TestNothingIsToldUnlessWanted(t *testing.T) {
	env := startRotations(t, vaulttest.Config{}, "p/one")
	route(t, env.Engine)
	quiet, _ := newEngine(t, env, vault.Config{})
	_, err := quiet.CancelRotation(t.Context(), env.Admin, path("p/one"))
	must(t, err)
	claim, err := quiet.ClaimRotation(t.Context(), time.Minute)
	must(t, err)
	_, err = quiet.AdvanceRotation(t.Context(), claim, vault.RotationProgress{Pace: rotation.UsualPace()})
	must(t, err)
	if queue, err := env.Engine.NotificationQueue(t.Context()); err != nil || queue.New || queue.Age != 0 {
		t.Errorf("%+v, %v", queue, err)
	}
}

// TestDeliveryIsTakenOnce: a replica that lost its lease removes nothing that another has taken.
func TestDeliveryIsTakenOnce(t *testing.T) {
	env := startRotations(t, vaulttest.Config{}, "p/one")
	route(t, env.Engine, "chat", "hook")
	queue, err := env.Engine.NotificationQueue(t.Context())
	slices.Sort(queue.Sinks)
	if diff := cmp.Diff([]string{"chat", "hook"}, queue.Sinks); err != nil || diff != "" || queue.New {
		t.Errorf("%v, %v %s", queue, err, diff)
	}
	first, err := env.Engine.ClaimNotification(t.Context(), "chat", time.Minute)
	must(t, err)
	if again, err := env.Engine.ClaimNotification(t.Context(), "chat", time.Minute); err != nil || again != nil {
		t.Errorf("it is taken twice: %v", err)
	}
	exec(t, env, `UPDATE notifications SET leased_until = now() - interval '1 second'`) // the first one's lease is over
	second, err := env.Engine.ClaimNotification(t.Context(), "chat", time.Minute)
	must(t, err)
	if second == nil || second.Event.ID != first.Event.ID || second.Attempts != 2 {
		t.Fatalf("the second claim is %+v", second)
	}
	must(t, env.Engine.SettleNotification(t.Context(), first))
	must(t, env.Engine.RetryNotification(t.Context(), first, 0, false))
	if third, err := env.Engine.ClaimNotification(t.Context(), "chat", time.Minute); err != nil || third != nil {
		t.Errorf("who lost its lease gave it back: %v", err)
	}
	must(t, env.Engine.SettleNotification(t.Context(), second))
	if hook, err := env.Engine.ClaimNotification(t.Context(), "hook", time.Minute); err != nil || hook == nil {
		t.Errorf("the other sink has it no more: %v", err)
	}
}

// TestWholeSinkWaits: one that wants to be left alone is, with all that is for it.
func TestWholeSinkWaits(t *testing.T) {
	env := startRotations(t, vaulttest.Config{}, "p/one", "p/two")
	route(t, env.Engine, "chat", "hook")
	claim, err := env.Engine.ClaimNotification(t.Context(), "chat", time.Minute)
	must(t, err)
	must(t, env.Engine.RetryNotification(t.Context(), claim, time.Hour, true))
	if next, err := env.Engine.ClaimNotification(t.Context(), "chat", time.Minute); err != nil || next != nil {
		t.Errorf("it is not left alone: %v", err)
	}
	if next, err := env.Engine.ClaimNotification(t.Context(), "hook", time.Minute); err != nil || next == nil {
		t.Errorf("the other one waits too: %v", err)
	}
}

// TestSwappedNotificationsAreNotTold exchanges each column between two deliveries.
func TestSwappedNotificationsAreNotTold(t *testing.T) {
	env := startRotations(t, vaulttest.Config{}, "p/one", "p/two")
	sinks := map[string]string{"p/one": "chat", "p/two": "hook"}
	_, err := env.Engine.RouteNotifications(t.Context(), func(e *notification.Event) []string { return []string{sinks[e.Path]} })
	must(t, err)
	exec(t, env, `CREATE TABLE kept AS SELECT * FROM notifications`)
	for _, column := range []string{"event", "sink", "at", "body", "mac"} {
		exec(t, env, fmt.Sprintf(`DELETE FROM notifications; INSERT INTO notifications SELECT * FROM kept;
			UPDATE notifications n SET %[1]s = k.%[1]s FROM kept k WHERE k.sink <> n.sink`, column))
		for _, sink := range sinks {
			claim, err := env.Engine.ClaimNotification(t.Context(), sink, time.Minute)
			if claim != nil || !errors.Is(err, secret.ErrTampered) {
				t.Errorf("%s: an exchanged one is told: %v", column, err)
			}
		}
		if queue, err := env.Engine.NotificationQueue(t.Context()); err != nil || queue.Age != 0 || len(queue.Sinks) > 0 {
			t.Errorf("%s: it is kept: %+v, %v", column, queue, err)
		}
	}
}

// TestEventsHoldNoValue: neither that of the path nor what a rotator said of it.
func TestEventsHoldNoValue(t *testing.T) {
	env := startRotations(t, vaulttest.Config{}, "p/one")
	env.Put(t, "p/two", "c4nary-s3cret")
	route(t, env.Engine, "chat")
	for _, place := range env.Leaks(t, "c4nary-s3cret") {
		t.Errorf("the value is in %s", place)
	}
}

// TestOverdueIsTold once when it becomes so, again when the time has passed, and no more when it was rotated.
func TestOverdueIsTold(t *testing.T) {
	clock := &setClock{now: time.Now()}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Notify: true, Clock: clock.Now})
	for _, p := range []string{"p/old", "p/new", "p/none"} {
		put := secret.PutRequest{Path: path(p), Value: vaulttest.Value(t, "v")}
		if p != "p/none" {
			put.RotateAfterDays = new(map[string]int{"p/old": 1, "p/new": 90}[p])
		}
		_, err := env.Engine.Put(t.Context(), env.Admin, put)
		must(t, err)
	}
	_, err := env.Engine.ReplaceRotations(t.Context(), env.Admin.Cluster, []rotation.Definition{rotationOf("p/none")})
	must(t, err)
	second := env.Open(t)
	start := clock.Now()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		after time.Duration
		want  []string
	}{
		{"nothing is due", 0, nil},
		{"due, and both replicas look", 25 * time.Hour, []string{"dev.coffer.secret.overdue p/old"}},
		{"told", 26 * time.Hour, nil},
		{"a week later", 8*day + 2*time.Hour, []string{"dev.coffer.secret.overdue p/old"}},
		{"a clock that was wrong", day + 2*time.Hour, []string{"dev.coffer.secret.overdue p/old"}},
	} {
		clock.Set(start.Add(c.after))
		for _, e := range []*vault.Engine{env.Engine, second} {
			if more, err := e.TellOverdue(t.Context(), 7*day); err != nil || more {
				t.Errorf("%s: %v, %v", c.name, more, err)
			}
		}
		if diff := cmp.Diff(c.want, route(t, env.Engine)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	env.Put(t, "p/old", "another")
	_, err = env.Engine.TellOverdue(t.Context(), 7*day)
	must(t, err)
	if told := route(t, env.Engine); len(told) > 0 {
		t.Errorf("what was rotated is told: %s", told)
	}
}

// TestMuchThatIsOverdueIsToldInParts: a chat takes one message a second.
func TestMuchThatIsOverdueIsToldInParts(t *testing.T) {
	clock := &setClock{now: time.Now()}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Notify: true, Clock: clock.Now})
	for i := range 53 {
		_, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: path(fmt.Sprintf("p/n%d", i)), Value: vaulttest.Value(t, "v"), RotateAfterDays: new(1)})
		must(t, err)
	}
	clock.Set(clock.Now().Add(100 * time.Hour))
	var told []string
	for _, want := range []struct {
		more  bool
		count int
	}{{true, 50}, {false, 3}, {false, 0}} {
		more, err := env.Engine.TellOverdue(t.Context(), time.Hour*24*7)
		must(t, err)
		now := route(t, env.Engine)
		if more != want.more || len(now) != want.count {
			t.Errorf("%d told, more is %v, want %+v", len(now), more, want)
		}
		told = append(told, now...)
	}
	slices.Sort(told)
	if len(slices.Compact(told)) != 53 {
		t.Errorf("told: %s", strings.Join(told, ", "))
	}
}

// TestTestNeedsARight on the notifications, which ** does not give.
func TestTestNeedsARight(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	api := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, api, "**")
	_, err := env.Engine.AdmitNotificationTest(t.Context(), api)
	wantError(t, err, secret.ErrDenied)
	event, err := env.Engine.AdmitNotificationTest(t.Context(), env.Admin)
	if err != nil || event.Type != notification.Test || event.By != "user:admin" || event.Vault == "" {
		t.Errorf("%+v, %v", event, err)
	}
}
