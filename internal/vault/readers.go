package vault

import (
	"maps"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// DefaultReaderWindow is how long who read a version over the API counts as one that
	// has it: a program that reads at its start is started anew each day or so.
	DefaultReaderWindow = 24 * time.Hour
	// readerGrain is how often the time of a read that is like one before is written down.
	readerGrain = 5 * time.Minute
	// maxKnownReaders bounds what a process remembers of that, at some 300 bytes each. What
	// it forgot it writes down once more.
	maxKnownReaders = 20_000
)

// readerLog knows which reads this process has written down lately: of each reader of a
// path, by its key without a version, the last. It is safe for concurrent use.
type readerLog struct {
	known *otter.Cache[store.ReaderKey, lastRead]
}

type lastRead struct {
	version int64
	at      time.Time
}

func newReaderLog() readerLog {
	return readerLog{otter.Must(&otter.Options[store.ReaderKey, lastRead]{
		MaximumSize: maxKnownReaders,
		Executor:    func(evict func()) { evict() }, // quick, and nobody is told
	})}
}

// due are the reads among entries that are to be written down, each once, without writers
// and MACs. Those of an operator are not among them, since it acknowledges what came of them, nor those of a
// rotation, which would wait for itself.
func (l readerLog) due(entries []audit.Entry) []store.Reader {
	var due map[store.ReaderKey]store.Reader
	for i := range entries {
		entry := &entries[i]
		if entry.Action != audit.Read || entry.Decision != audit.Allowed || entry.Version == 0 ||
			entry.Address == secret.OperatorAddress || entry.Address == secret.RotationAddress {
			continue
		}
		key := store.ReaderKey{
			Path: entry.Path, Cluster: entry.Cluster, CallerKind: entry.CallerKind, Caller: entry.Caller, Version: entry.Version,
		}
		if last, known := l.known.GetIfPresent(ofAnyVersion(key)); known && last.version == key.Version && entry.At.Sub(last.at) < readerGrain {
			continue
		}
		if due == nil {
			due = map[store.ReaderKey]store.Reader{}
		}
		due[key] = store.Reader{ReaderKey: key, Namespace: entry.Namespace, ReadAt: entry.At}
	}
	return slices.Collect(maps.Values(due))
}

// written notes that readers are durable.
func (l readerLog) written(readers []store.Reader) {
	for _, r := range readers {
		key := ofAnyVersion(r.ReaderKey)
		if last, known := l.known.GetIfPresent(key); !known || !r.ReadAt.Before(last.at) {
			l.known.Set(key, lastRead{r.Version, r.ReadAt})
		}
	}
}

func ofAnyVersion(key store.ReaderKey) store.ReaderKey {
	key.Version = 0
	return key
}

// readersDue are the rows of readers that go with entries of the audit log, by their writer.
// That one belongs to one transaction at a time: no read waits for the lock of another's row.
func (e *Engine) readersDue(entries []audit.Entry, writer store.ID) []store.Reader {
	due := e.readers.due(entries)
	for i := range due {
		due[i].Writer = writer
		due[i].MAC = e.readerMAC(&due[i])
	}
	return due
}
