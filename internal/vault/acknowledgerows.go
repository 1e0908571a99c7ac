package vault

import (
	"fmt"
	"math"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Limits of what is acknowledged of one consumer.
const (
	// maxObjectNameBytes is the limit of names of Kubernetes objects, which those of
	// clusters, namespaces and UIDs are below
	// (k8s.io/apimachinery/pkg/util/validation.DNS1123SubdomainMaxLength).
	maxObjectNameBytes = 253
	maxStateBytes      = 64
)

// consumerRows are rows of one cluster.
type consumerRows map[store.ConsumerKey]store.Consumer

// consumerRowsOf are the rows that given stands for, without their times and MACs. Of a
// path that a consumer has in several versions the oldest counts.
func consumerRowsOf(cluster string, given []secret.Acknowledgement) (consumerRows, error) {
	if cluster == "" {
		return nil, errNoCluster
	}
	if err := validateText("the name of the cluster", cluster, maxObjectNameBytes); err != nil {
		return nil, err
	}
	rows := make(consumerRows, len(given))
	for i := range given {
		a := &given[i]
		if err := validateAcknowledgement(a); err != nil {
			return nil, err
		}
		for _, source := range a.Sources {
			key := store.ConsumerKey{Kind: string(a.Kind), Namespace: a.Namespace, Name: a.Name, Path: source.Path.String()}
			if known, twice := rows[key]; twice && known.Version <= source.Version {
				continue
			}
			rows[key] = store.Consumer{
				Cluster: cluster, ConsumerKey: key, UID: a.UID, Version: source.Version,
				Workloads: int32(a.Workloads), Rolled: int32(a.Rolled), State: a.State,
			}
		}
	}
	return rows, nil
}

func validateAcknowledgement(a *secret.Acknowledgement) error {
	for _, text := range []struct {
		what, s string
		limit   int
	}{
		{"a consumer's kind", string(a.Kind), maxStateBytes}, {"a consumer's namespace", a.Namespace, maxObjectNameBytes},
		{"a consumer's name", a.Name, maxObjectNameBytes}, {"a consumer's UID", a.UID, maxObjectNameBytes}, {"a consumer's state", a.State, maxStateBytes},
	} {
		if err := validateText(text.what, text.s, text.limit); err != nil {
			return err
		}
	}
	if a.Kind == "" || a.Name == "" {
		return fmt.Errorf("%w: a consumer has no kind or no name", secret.ErrInvalid)
	}
	if a.Rolled < 0 || a.Rolled > a.Workloads || a.Workloads > math.MaxInt32 {
		return fmt.Errorf("%w: %d of %d workloads of the %s %s/%s are rolled", secret.ErrInvalid, a.Rolled, a.Workloads, a.Kind, a.Namespace, a.Name)
	}
	for _, source := range a.Sources {
		if source.Path.IsZero() || source.Version < 1 {
			return fmt.Errorf("%w: the %s %s/%s has version %d of the path %q; versions count from 1",
				secret.ErrInvalid, a.Kind, a.Namespace, a.Name, source.Version, source.Path)
		}
	}
	return nil
}

// consumerNames are the keys of those that batch names, without a path.
func consumerNames(batch []secret.Acknowledgement) []store.ConsumerKey {
	names := make([]store.ConsumerKey, len(batch))
	for i, a := range batch {
		names[i] = store.ConsumerKey{Kind: string(a.Kind), Namespace: a.Namespace, Name: a.Name}
	}
	return names
}
