package sdk

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Follow gives the current version of path, and then each one that becomes current:
//
//	for password, err := range client.Follow(ctx, "production/payments/database") {
//		if err != nil {
//			return err // deleted, or no longer allowed
//		}
//		reconnect(password.Text())
//	}
//
// It goes on when the server is restarted or away, however long that takes, when the
// token of a file is renewed, and when changes were missed. Of versions that follow each
// other faster than they are taken it gives the last.
//
// The iteration ends when ctx does, without an error, and with an error when the path is
// deleted or not there, or the caller may not read it. It has a watch of its own: where
// several paths are followed, use one [Cache].
func (c *Client) Follow(ctx context.Context, path string) iter.Seq2[CachedSecret, error] {
	return func(yield func(CachedSecret, error) bool) {
		cache := NewCache(c, CacheConfig{Paths: []string{path}, MaxEntries: 1})
		defer cache.Close()
		cache.Follow(ctx, path)(yield)
	}
}

// Follow is [Client.Follow] with the watch and the values of the cache. A path that the
// cache does not watch is looked at each CacheConfig.MaxAge. The first value may be a
// stale one.
func (c *Cache) Follow(ctx context.Context, path string) iter.Seq2[CachedSecret, error] {
	return func(yield func(CachedSecret, error) bool) {
		f := &follower{path: path, news: make(chan struct{}, 1)}
		c.mu.Lock()
		c.followers[f] = struct{}{}
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			delete(c.followers, f)
			c.mu.Unlock()
		}()
		var last Metadata
		for {
			found, err := c.Get(ctx, path)
			switch {
			case ctx.Err() != nil:
				clear(found.Value)
				return
			case errors.Is(err, errCacheClosed) || c.client.final(err):
				yield(CachedSecret{}, err)
				return
			case err == nil && !sameVersion(found.Metadata, last):
				last = found.Metadata
				if !yield(found, nil) {
					return
				}
			default:
				clear(found.Value)
			}
			if !f.pause(ctx, c.closed, c.nextLook(found, err)) {
				return
			}
		}
	}
}

// sameVersion compares times too: a path that was destroyed begins anew with version 1.
func sameVersion(a, b Metadata) bool { return a.Version == b.Version && a.CreatedAt.Equal(b.CreatedAt) }

// nextLook is when to read again though nothing is told.
func (c *Cache) nextLook(found CachedSecret, err error) time.Duration {
	if err != nil || found.Stale() {
		return outageRetry
	}
	return max(c.config.MaxAge-found.Age(), 0)
}

// pause waits for news, at most d. It returns false when ctx ends.
func (f *follower) pause(ctx context.Context, closed <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-closed:
	case <-f.news:
	case <-timer.C:
	}
	return true
}
