package authn

import (
	"crypto/sha256"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
)

var namespaceKind = corev1.SchemeGroupVersion.WithKind("Namespace")

// tokenCache remembers accepted tokens by their hash, so that a copy of the
// process's memory holds no usable token for longer than its request. Refusals are
// not remembered: an account may be made a moment later.
type tokenCache struct {
	lifetime time.Duration
	limit    int
	now      func() time.Time

	mu      sync.Mutex
	entries map[[sha256.Size]byte]tokenEntry
}

type tokenEntry struct {
	user    authenticationv1.UserInfo
	expires time.Time
}

func newTokenCache(lifetime time.Duration, limit int, now func() time.Time) *tokenCache {
	return &tokenCache{lifetime: lifetime, limit: limit, now: now, entries: map[[sha256.Size]byte]tokenEntry{}}
}

func (c *tokenCache) get(key [sha256.Size]byte) (authenticationv1.UserInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, ok := c.entries[key]
	if !ok || !c.now().Before(entry.expires) {
		return authenticationv1.UserInfo{}, false
	}
	return entry.user, true
}

// put makes room, when the cache is full, by dropping what has expired, and all of
// it when nothing has: a storm of tokens costs reviews, not memory.
func (c *tokenCache) put(key [sha256.Size]byte, user authenticationv1.UserInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.entries) >= c.limit {
		for k, entry := range c.entries {
			if !now.Before(entry.expires) {
				delete(c.entries, k)
			}
		}
		if len(c.entries) >= c.limit {
			clear(c.entries)
		}
	}
	c.entries[key] = tokenEntry{user, now.Add(c.lifetime)}
}
