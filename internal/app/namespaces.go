package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// namedNamespaces makes the informers of a cache that sees only the named Namespaces,
// and asks for each by its name: so a role with resourceNames is enough, which a list
// or watch of all is not. Informers of other kinds are as ever.
func namedNamespaces(names []string) func(toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer {
	return func(lw toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		if isNamespace(object) {
			lw = &named{names: names, of: toolscache.ToListerWatcherWithContext(lw)}
		}
		return toolscache.NewSharedIndexInformer(lw, object, resync, indexers)
	}
}

func isNamespace(object runtime.Object) bool {
	switch o := object.(type) {
	case *corev1.Namespace:
		return true
	case *metav1.PartialObjectMetadata:
		return o.GroupVersionKind() == corev1.SchemeGroupVersion.WithKind("Namespace")
	default:
		return false
	}
}

// named lists and watches objects of a cluster-scoped kind one by one, by name.
type named struct {
	names []string
	of    toolscache.ListerWatcherWithContext
}

// IsWatchListSemanticsUnSupported tells the reflector to list, and not to stream the
// list: of several streams none is the end of all.
func (*named) IsWatchListSemanticsUnSupported() bool { return true }

func (n *named) List(options metav1.ListOptions) (runtime.Object, error) {
	return n.ListWithContext(context.Background(), options)
}

func (n *named) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return n.WatchWithContext(context.Background(), options)
}

// ListWithContext lists all. The resource version is that of the first answer, and the
// others are at least as new: a watch from there misses nothing.
func (n *named) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	// Whatever a cache of the API server has would be enough for one list, and not to
	// compare several.
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	options.Limit, options.Continue = 0, ""
	var first runtime.Object
	var all []runtime.Object
	for _, name := range n.names {
		list, err := n.of.ListWithContext(ctx, byName(options, name))
		if err != nil {
			return nil, fmt.Errorf("list the object %s: %w", name, err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if first == nil {
			first = list
		}
	}
	if first == nil {
		return nil, errors.New("no names to list")
	}
	return first, meta.SetList(first, all)
}

// WatchWithContext watches all. When one of the watches ends, all do, as expired: how
// far each came is not told by one resource version, so the next begins with a list.
func (n *named) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	events := make(chan watch.Event)
	merged := watch.NewProxyWatcher(events)
	for _, name := range n.names {
		one, err := n.of.WatchWithContext(ctx, byName(options, name))
		if err != nil {
			merged.Stop() // ends the others
			return nil, err
		}
		go forward(one, events, merged.StopChan())
	}
	return merged, nil
}

// forward hands the events of one watch on, until stop, or its end.
func forward(one watch.Interface, events chan<- watch.Event, stop <-chan struct{}) {
	defer one.Stop()
	for {
		var event watch.Event
		var open bool
		select {
		case <-stop:
			return
		case event, open = <-one.ResultChan():
		}
		switch {
		case !open:
			event = watch.Event{Type: watch.Error, Object: expired()}
		case event.Type == watch.Bookmark: // of one watch, not of all
			continue
		}
		select {
		case <-stop:
			return
		case events <- event:
		}
		if !open {
			return
		}
	}
}

func expired() *metav1.Status {
	return &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired,
		Message: "one of the watches has ended",
	}
}

func byName(options metav1.ListOptions, name string) metav1.ListOptions {
	options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	return options
}
