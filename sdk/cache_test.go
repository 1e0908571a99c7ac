package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// cached is a Cache over a stand-in, in the time of synctest.
type cached struct {
	*sdk.Cache

	server *standIn
	heard  []string // outcomes
}

func withCache(t *testing.T, config sdk.CacheConfig, run func(t *testing.T, c *cached)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cached{server: newStandIn()}
		var mu sync.Mutex
		client := c.server.client(t, sdk.Config{Hooks: sdk.Hooks{CacheRead: func(_ context.Context, r sdk.CacheRead) {
			mu.Lock()
			defer mu.Unlock()
			c.heard = append(c.heard, string(r.Outcome)+" "+string(sdk.CodeOf(r.Err)))
		}}})
		c.Cache = sdk.NewCache(client, config)
		defer c.Close()
		synctest.Wait() // the watch stands
		run(t, c)
	})
}

// want reads a/b.
func (c *cached) want(t *testing.T, value string, stale bool, asked int) {
	t.Helper()
	found, err := c.Get(t.Context(), "a/b")
	if err != nil || found.Text() != value || found.Stale() != stale {
		t.Errorf("got %q, stale %v, %v; want %q, %v", found.Text(), found.Stale(), err, value, stale)
	}
	if got := c.server.asked(); got != asked {
		t.Errorf("the server was asked %d times, want %d", got, asked)
	}
}

func (c *cached) wantCode(t *testing.T, want sdk.Code) {
	t.Helper()
	found, err := c.Get(t.Context(), "a/b")
	if sdk.CodeOf(err) != want || found.Value != nil {
		t.Errorf("got %v, %v; want the code %q", found, err, want)
	}
}

func TestCacheKeepsUntilAnEvent(t *testing.T) {
	withCache(t, sdk.CacheConfig{}, func(t *testing.T, c *cached) {
		c.server.put("a/b", "one")
		c.want(t, "one", false, 1)
		found, err := c.Get(t.Context(), "a/b")
		must(t, err)
		clear(found.Value) // a copy
		c.server.put("a/b", "two")
		c.want(t, "one", false, 1)
		c.server.tell(sdk.EventRotate, "a/c")
		synctest.Wait()
		c.want(t, "one", false, 1)
		c.server.tell(sdk.EventRotate, "a/b")
		synctest.Wait()
		c.want(t, "two", false, 2)
		c.want(t, "two", false, 2)
		for _, kind := range []sdk.EventKind{sdk.EventPolicy, sdk.EventReset, "news of a later server"} {
			c.server.tell(kind, "")
		}
		synctest.Wait()
		c.want(t, "two", false, 3)
		wantList(t, "outcomes", c.heard, "miss ", "hit ", "hit ", "hit ", "miss ", "hit ", "miss ")
	})
}

// TestCacheReadsAgainWhenTheWatchStands what it read before: nothing told of changes then.
func TestCacheReadsAgainWhenTheWatchStands(t *testing.T) {
	withCache(t, sdk.CacheConfig{MaxAge: time.Hour}, func(t *testing.T, c *cached) {
		c.server.away(refuse(http.StatusUnprocessableEntity, sdk.CodeInvalid))
		wait(t, 10*time.Second) // the watch ended, for a minute
		c.server.away(nil)
		c.server.put("a/b", "one")
		c.want(t, "one", false, 1)
		c.server.put("a/b", "two")
		c.want(t, "one", false, 1)
		wait(t, time.Minute)
		c.want(t, "two", false, 2)
	})
}

// TestCacheReadsAgain what is too old, also when nothing tells of a change.
func TestCacheReadsAgain(t *testing.T) {
	for _, age := range []time.Duration{sdk.MaxCacheAge, 48 * time.Hour} {
		withCache(t, sdk.CacheConfig{MaxAge: age}, func(t *testing.T, c *cached) {
			c.server.put("a/b", "one")
			c.want(t, "one", false, 1)
			c.server.put("a/b", "two")
			wait(t, sdk.MaxCacheAge-time.Second)
			c.want(t, "one", false, 1)
			wait(t, time.Second)
			c.want(t, "two", false, 2)
		})
	}
}

// wait lets time pass in a synctest bubble.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// TestCacheGoesOnThroughAnOutage with the last value, at once after the first read, says
// so, and does so no longer than it may.
func TestCacheGoesOnThroughAnOutage(t *testing.T) {
	for name, refusal := range map[string]answerer{
		"a database that is away":  unavailable,
		"no server":                noServer,
		"a server that is silent":  silence,
		"a fault of the server":    refuse(http.StatusInternalServerError, sdk.CodeInternal),
		"the rate":                 refuse(http.StatusTooManyRequests, sdk.CodeRateLimited),
		"a proxy's page":           events("<html>"),
		"a value that is tampered": refuse(http.StatusInternalServerError, sdk.CodeIntegrityFailed),
	} {
		t.Run(name, func(t *testing.T) {
			withCache(t, sdk.CacheConfig{MaxStale: 10 * time.Minute}, func(t *testing.T, c *cached) {
				c.server.put("a/b", "one")
				c.want(t, "one", false, 1)
				c.server.away(refusal)
				c.want(t, "one", false, 1) // young enough not to ask
				wait(t, time.Minute)
				for i, most := range []time.Duration{2 * time.Second, 0} {
					began := time.Now()
					found, err := c.Get(t.Context(), "a/b")
					if err != nil || found.Text() != "one" || !found.Stale() || found.Age() < time.Minute || time.Since(began) > most {
						t.Errorf("read %d: %q, stale %v, age %v, %v, after %v", i, found.Text(), found.Stale(), found.Age(), err, time.Since(began))
					}
				}
				wait(t, 9*time.Minute)
				if found, err := c.Get(t.Context(), "a/b"); err == nil || found.Value != nil {
					t.Errorf("after too long an outage: %v, %v", found, err)
				}
				c.server.away(nil)
				wait(t, 10*time.Minute) // until a request that hangs was given up
				c.server.put("a/b", "two")
				if found, err := c.Get(t.Context(), "a/b"); err != nil || found.Text() != "two" || found.Stale() {
					t.Errorf("afterwards: %v, %v", found, err)
				}
			})
		})
	}
}

func TestCacheWithoutStaleValues(t *testing.T) {
	withCache(t, sdk.CacheConfig{MaxStale: -1}, func(t *testing.T, c *cached) {
		c.server.put("a/b", "one")
		c.want(t, "one", false, 1)
		c.server.away(unavailable)
		wait(t, time.Minute)
		c.wantCode(t, sdk.CodeUnavailable)
	})
}

// TestCacheDrops what is deleted or denied: nothing of it comes back in an outage.
func TestCacheDrops(t *testing.T) {
	for name, change := range map[string]func(c *cached, s *standIn){
		"an event of a deletion":                          func(_ *cached, s *standIn) { s.tell(sdk.EventDelete, "a/b") },
		"an event of a destruction":                       func(_ *cached, s *standIn) { s.tell(sdk.EventDestroy, "a/b") },
		"a denial after an event":                         func(_ *cached, s *standIn) { s.remove("a/b"); s.tell(sdk.EventPolicy, "") },
		"a denial that only age shows":                    func(_ *cached, s *standIn) { s.remove("a/b"); <-time.After(time.Minute) },
		"a token that is refused":                         func(_ *cached, s *standIn) { s.renew("another"); <-time.After(time.Minute) },
		"a close":                                         func(c *cached, _ *standIn) { c.Close() },
		"a version that is not there":                     func(_ *cached, s *standIn) { s.away(refuse(404, sdk.CodeVersionNotFound)); <-time.After(time.Minute) },
		"a sweep after an outage that nobody looked into": func(_ *cached, s *standIn) { s.away(unavailable); <-time.After(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			withCache(t, sdk.CacheConfig{}, func(t *testing.T, c *cached) {
				c.server.put("a/b", "one")
				c.want(t, "one", false, 1)
				change(c, c.server)
				synctest.Wait()
				if strings.Contains(name, "deni") || strings.Contains(name, "refused") || strings.Contains(name, "not there") {
					if _, err := c.Get(t.Context(), "a/b"); err == nil {
						t.Fatal("not refused")
					}
				}
				c.server.away(unavailable)
				if found, err := c.Get(t.Context(), "a/b"); err == nil || found.Value != nil {
					t.Errorf("got %v, %v", found, err)
				}
			})
		})
	}
}

// TestCacheDropsWhenATokenOfAFileIsRefused: all that it has, by a read or by the watch, and reads
// again with the next token.
func TestCacheDropsWhenATokenOfAFileIsRefused(t *testing.T) {
	for name, notice := range map[string]func(t *testing.T, c *sdk.Cache, s *standIn){
		"a read": func(t *testing.T, c *sdk.Cache, _ *standIn) {
			wait(t, 10*time.Second) // a watch that says nothing would be broken off after 35 s
			if _, err := c.Get(t.Context(), "a/b"); sdk.CodeOf(err) != sdk.CodeUnauthenticated {
				t.Errorf("a read: %v", err)
			}
		},
		"the watch": func(t *testing.T, _ *sdk.Cache, s *standIn) {
			s.hangUp()
			wait(t, 10*time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "token")
			must(t, os.WriteFile(file, []byte("old"), 0o600))
			synctest.Test(t, func(t *testing.T) {
				s := newStandIn()
				s.put("a/b", "one")
				s.put("a/c", "two")
				c := sdk.NewCache(s.client(t, sdk.Config{TokenFile: file}), sdk.CacheConfig{MaxAge: 10 * time.Second})
				defer c.Close()
				synctest.Wait()
				for _, path := range []string{"a/b", "a/c"} {
					_, err := c.Get(t.Context(), path)
					must(t, err)
				}
				s.renew("new")
				notice(t, c, s)
				s.away(unavailable)
				for _, path := range []string{"a/b", "a/c"} {
					if found, err := c.Get(t.Context(), path); err == nil || found.Value != nil {
						t.Errorf("%s is still there: %v, %v", path, found, err)
					}
				}
				s.away(nil)
				must(t, os.WriteFile(file, []byte("new"), 0o600))
				if found, err := c.Get(t.Context(), "a/b"); err != nil || found.Text() != "one" || found.Stale() {
					t.Errorf("with the next token: %v, %v", found, err)
				}
			})
		})
	}
}

// TestCacheDropsALateAnswerAfterARefusal: what was asked for while the token was good, and is answered when it is refused, is not kept,
// whether an event has overtaken it or not.
func TestCacheDropsALateAnswerAfterARefusal(t *testing.T) {
	for noticed, notice := range map[string]func(t *testing.T, c *sdk.Cache, s *standIn){
		"by a read": func(t *testing.T, c *sdk.Cache, _ *standIn) {
			if _, err := c.Get(t.Context(), "a/c"); sdk.CodeOf(err) != sdk.CodeUnauthenticated {
				t.Errorf("a read: %v", err)
			}
		},
		"by the watch": func(t *testing.T, _ *sdk.Cache, s *standIn) {
			s.hangUp()
			wait(t, 3*time.Second)
		},
	} {
		for which, happens := range map[string]func(s *standIn){
			"an answer under way":                  func(*standIn) {},
			"an answer that rights have overtaken": func(s *standIn) { s.tell(sdk.EventPolicy, "") },
			"an answer that a rotation overtook":   func(s *standIn) { s.tell(sdk.EventRotate, "a/b") },
		} {
			t.Run(which+", noticed "+noticed, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "token")
				must(t, os.WriteFile(file, []byte("old"), 0o600))
				synctest.Test(t, func(t *testing.T) {
					s := newStandIn()
					s.put("a/b", "one")
					c := sdk.NewCache(s.client(t, sdk.Config{TokenFile: file}), sdk.CacheConfig{})
					defer c.Close()
					synctest.Wait()
					gate := make(chan struct{})
					s.gate = gate
					var early sync.WaitGroup
					early.Go(func() {
						if found, err := c.Get(t.Context(), "a/b"); err != nil || found.Text() != "one" {
							t.Errorf("who asked before: %v, %v", found, err)
						}
					})
					synctest.Wait()
					happens(s)
					synctest.Wait()
					s.open()
					s.renew("new")
					notice(t, c, s)
					close(gate)
					early.Wait()
					s.away(noServer)
					if found, err := c.Get(t.Context(), "a/b"); err == nil || found.Value != nil {
						t.Errorf("the late answer is kept: %v, %v", found, err)
					}
				})
			})
		}
	}
}

func TestCacheAsksOnceForAll(t *testing.T) {
	withCache(t, sdk.CacheConfig{}, func(t *testing.T, c *cached) {
		c.server.put("a/b", "one")
		gate := make(chan struct{})
		c.server.gate = gate
		var got sync.Map
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				found, err := c.Get(t.Context(), "a/b")
				got.Store(i, fmt.Sprint(found.Text(), err))
				clear(found.Value)
			})
		}
		given, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := c.Get(given, "a/b"); !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(gate)
		all.Wait()
		got.Range(func(i, answer any) bool {
			if answer != "one<nil>" {
				t.Errorf("reader %v got %q", i, answer)
			}
			return true
		})
		c.want(t, "one", false, 1)
	})
}

// TestCacheAnswerFromBeforeAChange does not stay: who asks after the event asks anew.
func TestCacheAnswerFromBeforeAChange(t *testing.T) {
	withCache(t, sdk.CacheConfig{}, func(t *testing.T, c *cached) {
		c.server.put("a/b", "one")
		gate := make(chan struct{})
		c.server.gate = gate
		var early sync.WaitGroup
		early.Go(func() { _, _ = c.Get(t.Context(), "a/b") })
		synctest.Wait()
		c.server.put("a/b", "two")
		c.server.open()
		c.server.tell(sdk.EventRotate, "a/b")
		synctest.Wait()
		c.want(t, "two", false, 2)
		close(gate)
		early.Wait()
		c.want(t, "two", false, 2)
	})
}

// TestCacheKeepsAnAnswerFromBeforeAChange for an outage, as it keeps values that were there
// before the change: the first read of a program is as a rule overtaken by its watch. What
// is known to be deleted or denied stays away.
func TestCacheKeepsAnAnswerFromBeforeAChange(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(t *testing.T, c *cached)
		kept    bool
	}{
		"rights":     {func(_ *testing.T, c *cached) { c.server.tell(sdk.EventPolicy, "") }, true},
		"a rotation": {func(_ *testing.T, c *cached) { c.server.tell(sdk.EventRotate, "a/b") }, true},
		"a deletion": {func(_ *testing.T, c *cached) { c.server.tell(sdk.EventDelete, "a/b") }, false},
		"rights, then a deletion": {func(_ *testing.T, c *cached) {
			c.server.tell(sdk.EventPolicy, "")
			synctest.Wait()
			c.server.tell(sdk.EventDelete, "a/b")
		}, false},
		"rights, then a denial": {func(t *testing.T, c *cached) {
			c.server.tell(sdk.EventPolicy, "")
			synctest.Wait()
			c.server.open()
			c.server.remove("a/b")
			c.wantCode(t, sdk.CodeNotFoundOrDenied)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			withCache(t, sdk.CacheConfig{}, func(t *testing.T, c *cached) {
				c.server.put("a/b", "one")
				gate := make(chan struct{})
				c.server.gate = gate
				var early sync.WaitGroup
				early.Go(func() { _, _ = c.Get(t.Context(), "a/b") })
				synctest.Wait()
				test.happens(t, c)
				synctest.Wait()
				close(gate)
				early.Wait()
				c.server.away(noServer)
				found, err := c.Get(t.Context(), "a/b")
				if kept := err == nil && found.Stale() && found.Text() == "one"; kept != test.kept {
					t.Errorf("kept: %v, want %v; %v", kept, test.kept, err)
				}
			})
		})
	}
}

func TestCacheIsBounded(t *testing.T) {
	withCache(t, sdk.CacheConfig{MaxEntries: 2}, func(t *testing.T, c *cached) {
		for _, path := range []string{"a/b", "a/c", "a/b", "a/d", "a/b", "a/c"} {
			c.server.put(path, "x")
			_, err := c.Get(t.Context(), path)
			must(t, err)
		}
		wantList(t, "outcomes", c.heard, "miss ", "miss ", "hit ", "miss ", "hit ", "miss ")
	})
}

// TestCacheKeepsToTheDeadlineOfItsCaller: the last value is better than none.
func TestCacheKeepsToTheDeadlineOfItsCaller(t *testing.T) {
	withCache(t, sdk.CacheConfig{}, func(t *testing.T, c *cached) {
		short := func() (sdk.CachedSecret, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			return c.Get(ctx, "a/b")
		}
		c.server.put("a/b", "one")
		c.want(t, "one", false, 1)
		c.server.away(silence)
		wait(t, time.Minute)
		if found, err := short(); err != nil || found.Text() != "one" || !errors.Is(found.Outage, context.DeadlineExceeded) {
			t.Errorf("with a last value: %v, %v", found.Outage, err)
		}
		c.Close()
		if _, err := short(); err == nil {
			t.Error("a closed cache answers")
		}
	})
}

// TestCacheWithoutAWatch works with its age, and says why changes come late.
func TestCacheWithoutAWatch(t *testing.T) {
	var heard []string
	withCache(t, sdk.CacheConfig{Interrupted: func(err error, again time.Duration) {
		heard = append(heard, fmt.Sprint(sdk.CodeOf(err), again))
	}}, func(t *testing.T, c *cached) {
		c.server.put("a/b", "one")
		c.server.away(refuse(http.StatusUnprocessableEntity, sdk.CodeInvalid))
		wait(t, 10*time.Second)
		c.server.away(nil)
		c.want(t, "one", false, 1)
		c.server.put("a/b", "two")
		wait(t, time.Minute)
		c.want(t, "two", false, 2)
		synctest.Wait()
		if len(heard) != 2 || !strings.HasPrefix(heard[0], "unavailable") || heard[1] != "invalid1m0s" {
			t.Errorf("heard %q", heard)
		}
	})
}
