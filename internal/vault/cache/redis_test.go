package cache_test

import (
	"bytes"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/cache"
)

// TestRedisReadsNoMoreThanABox, whatever somebody put there; the largest box comes whole, and a key that is missing
// or empty is a miss.
func TestRedisReadsNoMoreThanABox(t *testing.T) {
	options, err := redis.ParseURL(testkit.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	layer := cache.NewRedis(client)
	const most = 1<<20 + 4<<10
	for name, test := range map[string]struct {
		length, want int
		ok           bool
	}{
		"missing": {-1, 0, false}, "empty": {0, 0, false}, "small": {100, 100, true}, "largest": {1<<20 + 100, 1<<20 + 100, true}, "too large": {8 << 20, most, true},
	} {
		if test.length >= 0 {
			layer.Put(t.Context(), name, bytes.Repeat([]byte("b"), test.length))
		}
		if box, ok := layer.Get(t.Context(), name); len(box) != test.want || ok != test.ok {
			t.Errorf("%s: %d bytes, %v; want %d, %v", name, len(box), ok, test.want, test.ok)
		}
	}
}
