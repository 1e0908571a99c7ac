// Package cache keeps sealed boxes near: in this process, and in Redis, which the
// replicas share. It holds nothing that is worth reading without the vault's keys, is
// asked only after policy and version have been decided, and may lose or falsify
// everything: a box that does not open is a miss.
//
// Nothing has to be invalidated. A box is never written a second time under its
// version number, and it opens only with the wrapped key of its version, which is never
// cached: when Postgres has no such version any more, what lies here is noise.
package cache

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/singleflight"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Layer is a place where boxes are kept. Names are derived with a key by the engine,
// so that they tell nothing.
type Layer interface {
	// Name is the layer's label in metrics.
	Name() string
	// Get returns the box under name; ok is false when there is none, or when the
	// layer does not answer in time. The box must not be written to.
	Get(ctx context.Context, name string) (box []byte, ok bool)
	// Put keeps box under name for some time, if it can.
	Put(ctx context.Context, name string, box []byte)
	// Forget drops what is kept under name, if it can.
	Forget(ctx context.Context, name string)
}

// Result is how a layer answered.
type Result string

// The results. Bad is a box that failed its integrity check: somebody else's, cut, or
// invented.
const (
	Hit  Result = "hit"
	Miss Result = "miss"
	Bad  Result = "bad"
)

// Cache asks layer after layer, and the origin when none has a box that opens.
type Cache struct {
	layers  []Layer // nearest first
	observe func(layer string, result Result)
	flights singleflight.Group
}

// New returns a cache of layers, nearest first; there may be none. observe, when not
// nil, hears how each layer answered.
func New(observe func(layer string, result Result), layers ...Layer) *Cache {
	if observe == nil {
		observe = func(string, Result) {}
	}
	return &Cache{layers: layers, observe: observe}
}

// Open gives unseal the box under name: each that a layer has, until one does not fail
// with secret.ErrTampered, and at last the origin's, whose error, or that of its
// unsealing, it returns. What opened is put into the layers that did not have it.
//
// Callers that miss at one time share one call of origin. It gets a context without
// their cancellation, which it must bound itself; one that gives up leaves the others
// their answer. unseal is called by each for itself.
func (c *Cache) Open(ctx context.Context, name string, unseal func(box []byte) error, origin func(context.Context) ([]byte, error)) error {
	for i, layer := range c.layers {
		box, ok := layer.Get(ctx, name)
		if !ok {
			c.observe(layer.Name(), Miss)
			continue
		}
		if err := unseal(box); errors.Is(err, secret.ErrTampered) {
			c.observe(layer.Name(), Bad)
			continue
		} else if err != nil {
			return err
		}
		c.observe(layer.Name(), Hit)
		c.put(ctx, c.layers[:i], name, box)
		return nil
	}
	box, err := c.fetch(ctx, name, origin)
	if err != nil {
		return err
	}
	if err := unseal(box); err != nil {
		return err
	}
	c.put(ctx, c.layers, name, box)
	return nil
}

func (c *Cache) put(ctx context.Context, layers []Layer, name string, box []byte) {
	for _, layer := range layers {
		layer.Put(ctx, name, box)
	}
}

func (c *Cache) fetch(ctx context.Context, name string, origin func(context.Context) ([]byte, error)) ([]byte, error) {
	flight := c.flights.DoChan(name, func() (any, error) { return origin(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: wait for the version: %w", secret.ErrUnavailable, ctx.Err())
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.([]byte), nil
	}
}

// Forget drops the box under name from all layers of this process and from those that
// it shares: that of a destroyed version, which nothing opens any more.
func (c *Cache) Forget(ctx context.Context, name string) {
	for _, layer := range c.layers {
		layer.Forget(ctx, name)
	}
}
