package cache

import (
	"context"
	"fmt"

	"github.com/maypok86/otter/v2"
)

// entryOverhead is about what an entry costs beside its name and its box: the node
// and its place in the table, in bytes.
const entryOverhead = 128

// Memory is the layer within this process. It evicts what is asked for least and
// longest ago, by otter's W-TinyLFU: one scan over many paths does not push out what
// is in use.
type Memory struct{ entries *otter.Cache[string, []byte] }

// NewMemory returns a layer that holds at most maxBytes, which must be more than 0.
// A box that is larger is not kept.
func NewMemory(maxBytes uint64) (*Memory, error) {
	entries, err := otter.New(&otter.Options[string, []byte]{
		MaximumWeight: maxBytes,
		Weigher:       func(name string, box []byte) uint32 { return uint32(len(name) + len(box) + entryOverhead) },
		// Evictions are quick and nobody is told of them: no goroutine is needed.
		Executor: func(evict func()) { evict() },
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of %d bytes: %w", maxBytes, err)
	}
	return &Memory{entries}, nil
}

// Name implements Layer.
func (*Memory) Name() string { return "memory" }

// Get implements Layer. The box is shared: it must not be written to.
func (m *Memory) Get(_ context.Context, name string) (box []byte, ok bool) {
	return m.entries.GetIfPresent(name)
}

// Put implements Layer. It keeps box itself, which must not be written to any more.
func (m *Memory) Put(_ context.Context, name string, box []byte) { m.entries.Set(name, box) }

// Forget implements Layer.
func (m *Memory) Forget(_ context.Context, name string) { m.entries.Invalidate(name) }
