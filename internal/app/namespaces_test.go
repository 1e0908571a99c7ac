package app

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// byNameOnly is a server of namespaces that answers about one at a time, as a role with
// resourceNames makes the API server do.
type byNameOnly struct {
	t        *testing.T
	watchers map[string]*watch.FakeWatcher
}

func (s *byNameOnly) name(options metav1.ListOptions) string {
	s.t.Helper()
	name, ok := strings.CutPrefix(options.FieldSelector, "metadata.name=")
	if !ok {
		s.t.Errorf("asked for %q", options.FieldSelector)
	}
	return name
}

func (s *byNameOnly) lister() toolscache.ListerWatcher {
	return &toolscache.ListWatch{
		ListWithContextFunc: func(_ context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list := &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: map[string]string{"a": "7", "b": "9", "gone": "11"}[s.name(options)]}}
			if name := s.name(options); name != "gone" {
				list.Items = []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: name}}}
			}
			if options.ResourceVersion != "" || options.Limit != 0 {
				s.t.Errorf("listed with %+v", options)
			}
			return list, nil
		},
		WatchFuncWithContext: func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w := watch.NewFake()
			s.watchers[s.name(options)] = w
			return w, nil
		},
	}
}

// Objects are asked for by name, and come as one list from which a watch misses nothing.
func TestNamedLists(t *testing.T) {
	server := &byNameOnly{t: t}
	n := &named{names: []string{"a", "gone", "b"}, of: toolscache.ToListerWatcherWithContext(server.lister())}
	list, err := n.List(metav1.ListOptions{ResourceVersion: "0", Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := meta.EachListItem(list, func(o runtime.Object) error {
		names = append(names, o.(*corev1.Namespace).Name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if version := list.(*corev1.NamespaceList).ResourceVersion; version != "7" {
		t.Errorf("the resource version is %s, want the oldest, 7", version)
	}
}

// Events of all come through, bookmarks of one do not; when one watch ends, all do, in a
// way that makes the reflector list anew.
func TestNamedWatches(t *testing.T) {
	server := &byNameOnly{t: t, watchers: map[string]*watch.FakeWatcher{}}
	n := &named{names: []string{"a", "b"}, of: toolscache.ToListerWatcherWithContext(server.lister())}
	w, err := n.Watch(metav1.ListOptions{ResourceVersion: "7"})
	if err != nil {
		t.Fatal(err)
	}
	send := func(from string, event watch.EventType, name string) {
		go server.watchers[from].Action(event, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	send("b", watch.Modified, "b")
	if event := <-w.ResultChan(); event.Type != watch.Modified || event.Object.(*corev1.Namespace).Name != "b" {
		t.Errorf("got %+v", event)
	}
	server.watchers["a"].Action(watch.Bookmark, &corev1.Namespace{}) // returns when it was taken
	send("a", watch.Deleted, "a")
	if event := <-w.ResultChan(); event.Type != watch.Deleted {
		t.Errorf("got %+v", event)
	}
	server.watchers["a"].Stop()
	event := <-w.ResultChan()
	if err := apierrors.FromObject(event.Object); event.Type != watch.Error || !apierrors.IsResourceExpired(err) {
		t.Errorf("the end of a watch gives %+v", event)
	}
	w.Stop()
	for name, one := range server.watchers {
		<-closed(one)
		if !one.IsStopped() {
			t.Errorf("the watch of %s goes on", name)
		}
	}
}

// closed is closed when the watch has ended.
func closed(w *watch.FakeWatcher) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range w.ResultChan() {
		}
	}()
	return done
}
