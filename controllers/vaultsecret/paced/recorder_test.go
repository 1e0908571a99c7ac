package paced_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/coffer-vault/coffer/controllers/vaultsecret/paced"
)

// heard is what came through, and when.
type heard struct {
	begin time.Time
	notes []string
	after []time.Duration
}

func (h *heard) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	ref := regarding.(*corev1.ObjectReference)
	h.notes = append(h.notes, fmt.Sprintf("%s %s %s %s %s: "+note, append([]any{ref.Kind, ref.Name, kind, reason, action}, args...)...))
	if related != nil {
		h.notes[len(h.notes)-1] += " with " + related.(*corev1.ObjectReference).Name
	}
	h.after = append(h.after, time.Since(h.begin))
}

func secretNamed(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: name}}
}

// started runs f with a Recorder whose time is that of the bubble, and returns what came
// through within two minutes and how many Events were dropped.
func started(t *testing.T, f func(*paced.Recorder)) (h *heard, dropped int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h = &heard{begin: time.Now()}
		counter := paced.Dropped()
		r := paced.New(h, clientgoscheme.Scheme, counter)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		f(r)
		if err := r.Start(ctx); err != nil {
			t.Error(err)
		}
		dropped = int(testutil.ToFloat64(counter))
	})
	return h, dropped
}

// TestEventsPass, warnings first, as they were when they were recorded.
func TestEventsPass(t *testing.T) {
	h, dropped := started(t, func(r *paced.Recorder) {
		r.Eventf(secretNamed("a"), nil, corev1.EventTypeNormal, "Synced", "Sync", "version %d", 1)
		object := secretNamed("b")
		r.Eventf(object, secretNamed("c"), corev1.EventTypeWarning, "Denied", "Sync", "100%% %s", "sure")
		object.Name = "changed since"
	})
	want := []string{"Secret b Warning Denied Sync: 100% sure with c", "Secret a Normal Synced Sync: version 1"}
	if diff := cmp.Diff(want, h.notes); diff != "" || dropped != 0 {
		t.Errorf("%d dropped, and (-want +got):\n%s", dropped, diff)
	}
	if h.after[1] != 0 {
		t.Errorf("a few events waited %v", h.after[1])
	}
}

// TestManyEventsArePaced: a burst of 50 at once, then 20 a second.
func TestManyEventsArePaced(t *testing.T) {
	h, dropped := started(t, func(r *paced.Recorder) {
		for i := range 250 {
			r.Eventf(secretNamed("a"), nil, corev1.EventTypeNormal, "Synced", "Sync", "%d", i)
		}
	})
	if len(h.notes) != 250 || dropped != 0 {
		t.Fatalf("%d events and %d dropped, want 250 and none", len(h.notes), dropped)
	}
	if h.after[49] != 0 || h.after[50] == 0 {
		t.Errorf("event 50 after %v and event 51 after %v, want a burst of 50", h.after[49], h.after[50])
	}
	if last := h.after[249].Round(time.Second); last != 10*time.Second {
		t.Errorf("the last event after %v, want 200 at 20 a second", last)
	}
}

// TestTooManyEventsAreDropped, and whoever records them does not wait.
func TestTooManyEventsAreDropped(t *testing.T) {
	h, dropped := started(t, func(r *paced.Recorder) {
		for i := range 1500 {
			r.Eventf(secretNamed("a"), nil, corev1.EventTypeNormal, "Synced", "Sync", "%d", i)
		}
	})
	if len(h.notes) != 1000 || dropped != 500 {
		t.Errorf("%d events and %d dropped, want 1000 and 500", len(h.notes), dropped)
	}
}

// TestWarningsOvertake what many others have to tell, and have room of their own.
func TestWarningsOvertake(t *testing.T) {
	h, dropped := started(t, func(r *paced.Recorder) {
		for i := range 1000 {
			r.Eventf(secretNamed("a"), nil, corev1.EventTypeNormal, "Synced", "Sync", "%d", i)
		}
		for i := range 3 {
			r.Eventf(secretNamed("b"), nil, corev1.EventTypeWarning, "RolledBack", "Rollout", "%d", i)
		}
	})
	if dropped != 0 || len(h.notes) != 1003 {
		t.Fatalf("%d events and %d dropped, want all 1003", len(h.notes), dropped)
	}
	want := []string{"Secret b Warning RolledBack Rollout: 0", "Secret b Warning RolledBack Rollout: 1", "Secret b Warning RolledBack Rollout: 2", "Secret a Normal Synced Sync: 0"}
	if diff := cmp.Diff(want, h.notes[:4]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAnEventOfNothingKnownIsDropped: nobody could find it.
func TestAnEventOfNothingKnownIsDropped(t *testing.T) {
	h, dropped := started(t, func(r *paced.Recorder) {
		r.Eventf(&metav1.PartialObjectMetadata{}, nil, corev1.EventTypeNormal, "Synced", "Sync", "")
		r.Eventf(secretNamed("a"), &metav1.PartialObjectMetadata{}, corev1.EventTypeNormal, "Synced", "Sync", "")
	})
	if len(h.notes) != 0 || dropped != 2 {
		t.Errorf("%q, and %d dropped, want none and 2", h.notes, dropped)
	}
}
