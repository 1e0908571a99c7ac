package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The kinds of consumers.
const (
	// ConsumerVaultSecret is a VaultSecret, whose operator acknowledges what it has.
	ConsumerVaultSecret = "VaultSecret"
	// ConsumerServiceAccount and ConsumerUser read over the API.
	ConsumerServiceAccount = "ServiceAccount"
	ConsumerUser           = "User"
)

// The states of consumers that read over the API. That of a VaultSecret is the reason of
// its condition Ready.
const (
	// ConsumerReading has the version that it read last.
	ConsumerReading = "Reading"
	// ConsumerCached has read another version since, and may have this one in a cache.
	ConsumerCached = "Cached"
)

// Consumer is one that has a version of a path. One that reads over the API has as many
// entries as it has versions.
type Consumer struct {
	Kind      string `json:"kind" doc:"VaultSecret, or ServiceAccount or User for one that reads over the API" example:"VaultSecret"`
	Cluster   string `json:"cluster" doc:"Name of the cluster that it is in" example:"default"`
	Namespace string `json:"namespace,omitempty" doc:"Its namespace; absent for a user" example:"payments"`
	Name      string `json:"name" doc:"Its name" example:"database"`
	UID       string `json:"uid,omitempty" doc:"UID of the VaultSecret"`
	Version   int64  `json:"version" doc:"Version that it has"`
	// Workloads is 0 for one that reads over the API.
	Workloads int `json:"workloads" doc:"How many workloads run with the Secret of a VaultSecret"`
	// RolledOut is how many of Workloads run with Version.
	RolledOut int       `json:"rolledOut" doc:"How many of the workloads run with that version"`
	State     string    `json:"state" doc:"Reason of the condition Ready of a VaultSecret; Reading, or Cached when another version was read since, of one that reads over the API" example:"Synced"`
	Since     time.Time `json:"since" doc:"Since when it has the version and is in the state; of one that reads over the API, its last read of the version, which may be five minutes too early"`
	SeenAt    time.Time `json:"seenAt" doc:"When that was last written down"`
}

// ConsumerList is who has a path.
type ConsumerList struct {
	Items []Consumer `json:"items" nullable:"false" doc:"The consumers, VaultSecrets first, by cluster, namespace and name"`
}

// Consumers lists who has which version of path: VaultSecrets of all clusters, and who reads
// over the API. It needs the audit or the rotate capability.
func (c *Client) Consumers(ctx context.Context, path string) ([]Consumer, error) {
	var out ConsumerList
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/consumers", query: url.Values{"path": {path}}, repeatable: true}, &out)
	return out.Items, err
}

// ForgetConsumersRequest names a cluster that is no more.
type ForgetConsumersRequest struct {
	Cluster string `json:"cluster" minLength:"1" maxLength:"253" doc:"Name of the cluster, as consumers have it; not the one that is asked" example:"west"`
	// DryRun forgets nothing, and says what would be forgotten.
	DryRun bool `json:"dryRun,omitempty" doc:"Only say what would be forgotten"`
}

// ForgottenConsumers says what was known of the cluster.
type ForgottenConsumers struct {
	Consumers int `json:"consumers" doc:"How many VaultSecrets had versions"`
	Paths     int `json:"paths" doc:"Of how many paths"`
	// SeenAt is zero when nothing was known of the cluster.
	SeenAt time.Time `json:"seenAt,omitzero" doc:"When the cluster's operator last told of a change; absent when nothing was known of the cluster"`
}

// ForgetConsumers removes what the operator of a cluster told of its VaultSecrets, for all paths: of a cluster that is no more, so that no
// rotation waits for them. An operator that is still there tells all anew within some minutes. It needs the delete capability on
// sys/consumers.
func (c *Client) ForgetConsumers(ctx context.Context, r ForgetConsumersRequest) (ForgottenConsumers, error) {
	var out ForgottenConsumers
	err := c.call(ctx, call{method: http.MethodPost, route: "/v1/consumers/forget", body: r, repeatable: true}, &out)
	return out, err
}
