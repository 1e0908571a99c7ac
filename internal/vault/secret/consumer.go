package secret

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// ConsumerKind says in which way a consumer has a secret.
type ConsumerKind string

// The kinds of consumer.
const (
	// ConsumerVaultSecret is a VaultSecret, whose native Secret holds it. Its operator
	// acknowledges that.
	ConsumerVaultSecret ConsumerKind = "VaultSecret"
	// ConsumerServiceAccount and ConsumerUser read it over the API. That they have it is
	// concluded from their reads.
	ConsumerServiceAccount ConsumerKind = "ServiceAccount"
	ConsumerUser           ConsumerKind = "User"
)

// States of consumers that read over the API. That of a VaultSecret is the reason of its
// condition Ready, such as Synced, RollingOut or Suspended.
const (
	// StateReading: the version is the one that was read last.
	StateReading = "Reading"
	// StateCached: another version was read since, and this one so lately that a cache of
	// the client may still have it.
	StateCached = "Cached"
)

// MaxCacheAge is how long after its read a client's cache may have a value: sdk.MaxCacheAge.
const MaxCacheAge = time.Hour

// Acknowledgement is what an operator says of one consumer of its cluster: all that it
// has. One without sources has nothing any more, or is gone.
type Acknowledgement struct {
	Kind                 ConsumerKind
	Namespace, Name, UID string
	Sources              []HeldVersion
	// Workloads is how many workloads run with the secret, and Rolled how many of them
	// run with the versions of Sources.
	Workloads, Rolled int
	// State is one word.
	State string
}

// HeldVersion is a version of a path that somebody has.
type HeldVersion struct {
	Path    Path
	Version int64
}

// Consumer is one that has a version of a path.
type Consumer struct {
	Kind    ConsumerKind
	Cluster string
	// Namespace is empty for a user. UID is that of the VaultSecret, and empty for others.
	Namespace, Name, UID string
	Version              int64
	// Workloads and Rolled are those of an Acknowledgement; 0 for who reads over the API.
	Workloads, Rolled int
	State             string
	// Since is since when it has been in this state with this version: for who reads over
	// the API, the last read of it that is known, which may be some minutes too early.
	Since time.Time
	// SeenAt is when that was last written down.
	SeenAt time.Time
}

// String names the consumer in messages, such as "VaultSecret payments/database in
// cluster default" or "User alice in cluster default".
func (c *Consumer) String() string {
	name := c.Name
	if c.Namespace != "" {
		name = c.Namespace + "/" + name
	}
	return fmt.Sprintf("%s %s in cluster %s", c.Kind, name, c.Cluster)
}

// Behind says, for people, why the consumer has not moved on to version, or a newer one;
// empty when it has.
func (c *Consumer) Behind(version int64) string {
	switch {
	case c.Version < version:
		return fmt.Sprintf("it has version %d (%s)", c.Version, c.State)
	case c.Rolled < c.Workloads:
		return fmt.Sprintf("%d of %d workloads run with version %d (%s)", c.Rolled, c.Workloads, c.Version, c.State)
	default:
		return ""
	}
}

// Ahead says, for people, why the consumer has not gone back to version, or an older one;
// empty when it has.
func (c *Consumer) Ahead(version int64) string {
	switch {
	case c.Version > version:
		return fmt.Sprintf("it has version %d (%s)", c.Version, c.State)
	case c.Rolled < c.Workloads:
		return fmt.Sprintf("%d of %d workloads run with version %d (%s)", c.Rolled, c.Workloads, c.Version, c.State)
	default:
		return ""
	}
}

// CompareConsumers orders consumers by kind, cluster, namespace, name and version, those
// that are VaultSecrets first.
func CompareConsumers(a, b Consumer) int {
	return cmp.Or(
		cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Cluster, b.Cluster),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version),
	)
}

func rank(k ConsumerKind) int {
	if k == ConsumerVaultSecret {
		return 0
	}
	return 1
}

// Progress says how far the consumers of a path have moved on to a version.
type Progress struct {
	// Total is how many consumers there are, and Moved how many of them have the version,
	// or a newer one, with all their workloads. Who has several versions is one.
	Total, Moved int
	// Behind are the others, each with what it has that is too old (of ProgressBack: too new).
	Behind []Lagging
}

// Lagging is a consumer that has not moved on, and why, for people.
type Lagging struct {
	Consumer
	Why string
}

// ProgressTo says how far consumers have moved on to version.
func ProgressTo(version int64, consumers []Consumer) Progress {
	return progress(consumers, func(c *Consumer) string { return c.Behind(version) })
}

// ProgressBack says how far consumers have gone back to version: Moved of them have nothing
// that is newer, and Behind are the others.
func ProgressBack(version int64, consumers []Consumer) Progress {
	return progress(consumers, func(c *Consumer) string { return c.Ahead(version) })
}

func progress(consumers []Consumer, lags func(*Consumer) string) Progress {
	all, behind := map[Consumer]bool{}, map[Consumer]bool{}
	var p Progress
	for _, c := range consumers {
		who := Consumer{Kind: c.Kind, Cluster: c.Cluster, Namespace: c.Namespace, Name: c.Name}
		all[who] = true
		if why := lags(&c); why != "" {
			behind[who] = true
			p.Behind = append(p.Behind, Lagging{Consumer: c, Why: why})
		}
	}
	p.Total, p.Moved = len(all), len(all)-len(behind)
	slices.SortFunc(p.Behind, func(a, b Lagging) int { return CompareConsumers(a.Consumer, b.Consumer) })
	return p
}
