package vaultsecret_test

import (
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// Two operators at once, as when a leader is paused past its lease and goes on:
// whatever they write, the Secret never goes back to an older version, and ends
// with the last.
func TestTwoOperatorsNeverGoBack(t *testing.T) {
	t.Parallel()
	const rotations = 30
	w, _ := newRunningWorld(t)
	w.startOperator()
	w.put(database, "0")
	object := w.ofPath("payments", database)
	w.ready(object)

	watcher, err := client.NewWithWatch(w.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	events, err := watcher.Watch(t.Context(), &corev1.SecretList{}, client.InNamespace(w.namespace))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	path := vaulttest.Path(t, database)
	go func() {
		for i := range rotations {
			_, err := w.vault.Engine.Rotate(t.Context(), w.vault.Admin, secret.PutRequest{Path: path, Value: vaulttest.Value(t, strconv.Itoa(i+1))})
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()

	last, changes := 0, 0
	for last < rotations {
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended")
		case event, ok := <-events.ResultChan():
			if !ok {
				t.Fatal("the watch ended")
			}
			s, isSecret := event.Object.(*corev1.Secret)
			if !isSecret || event.Type == watch.Deleted {
				t.Fatalf("the watch tells of %s %T", event.Type, event.Object)
			}
			got, err := strconv.Atoi(string(s.Data["value"]))
			if err != nil {
				t.Fatal(err)
			}
			if got < last {
				t.Fatalf("the Secret went back from version %d to %d", last, got)
			}
			if got > last {
				changes++
			}
			last = got
		}
	}
	w.ready(object)
	t.Logf("%d rotations, %d of them seen in the Secret", rotations, changes)
}
