// Package paced records Kubernetes Events no faster than an API server likes.
//
// A change that concerns a thousand objects is told in a thousand Events, each a write like the ones that matter: without
// a limit the news of a rotation takes the API server from the rotation.
package paced

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
)

// Limits of a Recorder: what a few objects have to tell goes out at once, and the rest in
// the background.
const (
	perSecond = 20
	burst     = 50
	// maxWaiting bounds the memory for warnings that wait, and for others, some 500 bytes each. At 20 a
	// second they have waited for most of a minute by then, and are old news.
	maxWaiting = 1000
)

// Recorder passes Events on to another recorder: warnings before others, and each of them in
// their order. Eventf never waits: where too many wait already, the Event is dropped, and
// counted. What they tell stands in the status of their object, too. Those that wait when
// Start ends are lost.
type Recorder struct {
	next             events.EventRecorder
	scheme           *runtime.Scheme
	limiter          *rate.Limiter
	warnings, others chan event
	dropped          prometheus.Counter
}

// event is one that waits. It keeps references, since objects are larger, and change.
type event struct {
	regarding, related         *corev1.ObjectReference
	kind, reason, action, note string
}

// Dropped counts the Events of all Recorders of a program that were dropped.
func Dropped() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coffer_events_dropped_total",
		Help: "Kubernetes Events that were not recorded, since too many waited already.",
	})
}

// New returns a Recorder that passes on to next once it is started. dropped may be nil.
func New(next events.EventRecorder, scheme *runtime.Scheme, dropped prometheus.Counter) *Recorder {
	if dropped == nil {
		dropped = Dropped()
	}
	return &Recorder{
		next: next, scheme: scheme, limiter: rate.NewLimiter(perSecond, burst), dropped: dropped,
		warnings: make(chan event, maxWaiting), others: make(chan event, maxWaiting),
	}
}

// Eventf implements events.EventRecorder. An object without a kind in the scheme has no Event.
func (r *Recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	e := event{kind: kind, reason: reason, action: action, note: fmt.Sprintf(note, args...)}
	var err error
	if e.regarding, err = reference.GetReference(r.scheme, regarding); err != nil {
		r.dropped.Inc()
		return
	}
	if related != nil {
		if e.related, err = reference.GetReference(r.scheme, related); err != nil {
			r.dropped.Inc()
			return
		}
	}
	waiting := r.others
	if kind == corev1.EventTypeWarning {
		waiting = r.warnings
	}
	select {
	case waiting <- e:
	default:
		r.dropped.Inc()
	}
}

// Start implements manager.Runnable: it passes Events on until ctx ends.
func (r *Recorder) Start(ctx context.Context) error {
	for {
		if r.limiter.Wait(ctx) != nil {
			return nil
		}
		e, ok := r.take(ctx)
		if !ok {
			return nil
		}
		r.pass(e)
	}
}

// take waits for the next Event; there is none when ctx ends.
func (r *Recorder) take(ctx context.Context) (event, bool) {
	select {
	case e := <-r.warnings:
		return e, true
	default:
	}
	select {
	case e := <-r.warnings:
		return e, true
	case e := <-r.others:
		return e, true
	case <-ctx.Done():
		return event{}, false
	}
}

func (r *Recorder) pass(e event) {
	var related runtime.Object
	if e.related != nil { // and no nil pointer in an interface
		related = e.related
	}
	r.next.Eventf(e.regarding, related, e.kind, e.reason, e.action, "%s", e.note)
}
