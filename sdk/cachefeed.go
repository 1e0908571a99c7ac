package sdk

import (
	"context"
	"time"
)

// watchAgain is how long the cache waits when a watch cannot be, such as with a token
// that may not be used any more.
const watchAgain = time.Minute

// feed watches, and marks what changes.
func (c *Cache) feed(ctx context.Context) {
	options := WatchOptions{Prefix: c.config.Prefix, Paths: c.config.Paths, Retrying: c.interrupted}
	for {
		stands := false
		for event, err := range c.client.Watch(ctx, options) {
			if err != nil {
				c.interrupted(err, watchAgain)
				break
			}
			if event.Kind != EventPosition || !stands {
				stands = true
				c.take(event)
			}
		}
		if sleep(ctx, watchAgain) != nil {
			return
		}
	}
}

// interrupted passes on why there is no watch. That the token is refused counts for the
// values too: whoever is not to hear of changes is not to have them.
func (c *Cache) interrupted(err error, again time.Duration) {
	if isRefusal(err) {
		c.mu.Lock()
		if c.entries != nil {
			c.dropCaller()
		}
		c.mu.Unlock()
	}
	if c.config.Interrupted != nil {
		c.config.Interrupted(err, again)
	}
}

// take marks what is other by an event. An answer that is on its way may be from before
// it.
func (c *Cache) take(event Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		return
	}
	if event.Path == "" {
		// The watch stands since now, began anew, or the caller's rights are others.
		for path := range c.flights {
			c.overtake(path)
		}
		c.entries.changeAll()
		c.tell("")
		return
	}
	c.overtake(event.Path)
	if event.Kind == EventDelete || event.Kind == EventDestroy {
		c.forget(event.Path)
	} else {
		c.entries.change(event.Path)
	}
	c.tell(event.Path)
}

// overtake has who asks from now on not wait for a read that is under way. c.mu is held.
func (c *Cache) overtake(path string) {
	if f, ok := c.flights[path]; ok {
		delete(c.flights, path)
		c.late[f] = path
	}
}

// follower is one Follow under way.
type follower struct {
	path string
	// news has a place for one: that there is something to look at.
	news chan struct{}
}

// tell wakes who follows path, or everyone when it is empty. c.mu is held.
func (c *Cache) tell(path string) {
	for f := range c.followers {
		if path != "" && f.path != path {
			continue
		}
		select {
		case f.news <- struct{}{}:
		default:
		}
	}
}
