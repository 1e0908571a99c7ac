package app

import (
	"fmt"
	"os"

	clientfeatures "k8s.io/client-go/features"
)

// StartWithLists has the caches of this program begin with a list of each kind, rather
// than with the stream that client-go prefers: the API server ends such a stream with a
// bookmark that comes with its next second, in which a manager that starts does nothing.
// What the stream is to spare the API server (KEP-3157), memory for one large answer, it
// needs no more since it sends lists in pieces (KEP-5116, Kubernetes 1.33).
//
// The environment variable of client-go's own, KUBE_FEATURE_WatchListClient, wins. It must be
// called before the first cache is started.
func StartWithLists() error {
	if _, set := os.LookupEnv("KUBE_FEATURE_" + string(clientfeatures.WatchListClient)); set {
		return nil
	}
	gates, ok := clientfeatures.FeatureGates().(interface {
		Set(clientfeatures.Feature, bool) error
	})
	if !ok {
		return nil // the tests' gates, say, which somebody has set
	}
	if err := gates.Set(clientfeatures.WatchListClient, false); err != nil {
		return fmt.Errorf("have the caches start with lists: %w", err)
	}
	return nil
}
