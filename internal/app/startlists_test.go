package app

import (
	"os"
	"testing"

	clientfeatures "k8s.io/client-go/features"
)

// TestStartWithLists: caches begin with lists, unless client-go's variable says otherwise.
func TestStartWithLists(t *testing.T) {
	const variable = "KUBE_FEATURE_WatchListClient"
	gates, ok := clientfeatures.FeatureGates().(interface {
		Set(clientfeatures.Feature, bool) error
	})
	if !ok {
		t.Fatal("client-go's gates cannot be set any more: StartWithLists does nothing")
	}
	before := clientfeatures.FeatureGates().Enabled(clientfeatures.WatchListClient)
	t.Cleanup(func() { _ = gates.Set(clientfeatures.WatchListClient, before) })
	if err := gates.Set(clientfeatures.WatchListClient, true); err != nil {
		t.Fatal(err)
	}
	t.Setenv(variable, "true") // restored afterwards
	for _, want := range []bool{true, false} {
		if err := StartWithLists(); err != nil {
			t.Fatal(err)
		}
		if got := clientfeatures.FeatureGates().Enabled(clientfeatures.WatchListClient); got != want {
			t.Errorf("the stream is wanted: %v, want %v", got, want)
		}
		if err := os.Unsetenv(variable); err != nil {
			t.Fatal(err)
		}
	}
}
