// Package rotatortest holds a rotator, with the real system behind it, to what rotator.Rotator promises.
package rotatortest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// System is what is tested.
type System struct {
	Rotator rotator.Rotator
	// First is a credential that the system accepts.
	First rotator.Credential
	// LogsIn uses a credential as an application does. Callers are many at once.
	LogsIn func(rotator.Credential) bool
}

// rotations that one Run makes.
const rotations = 12

// Run rotates again and again, some of it finished and some revoked. Every step is called once, twice, by two at once,
// or broken off at a random moment and then called again; after each, who must be accepted is, and nobody else. All
// the while an application logs in with what it holds. With a rotator that overlaps it never fails.
func Run(t *testing.T, s System) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := &model{System: s, t: t, random: rand.New(rand.NewPCG(seed, 0)), current: s.First}
	first := s.First // m.current is another one by and by
	m.held.Store(&first)
	defer m.application()()
	for n := range rotations {
		m.rotate(rotator.WithRun(t.Context(), fmt.Sprintf("%x-%d", seed, n)))
	}
}

type model struct {
	System
	t       *testing.T
	random  *rand.Rand
	current rotator.Credential
	// held is what the application logs in with.
	held atomic.Pointer[rotator.Credential]
	// logins counts the application's.
	logins atomic.Int64
}

// application logs in until it is stopped.
func (m *model) application() (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			before := m.held.Load()
			ok := m.LogsIn(*before)
			// Who is given a new credential while it logs in takes that.
			if !ok && m.held.Load() == before && rotator.Overlaps(m.Rotator) {
				m.t.Errorf("the application's login with the credential of %s failed", before.Username())
				return
			}
			m.logins.Add(1)
		}
	})
	return func() {
		close(done)
		running.Wait()
		if m.logins.Load() == 0 {
			m.t.Error("the application never logged in")
		}
	}
}

func (m *model) rotate(ctx context.Context) {
	m.t.Helper()
	next, err := m.Rotator.Create(ctx, m.current)
	m.check("create", err, next)
	m.accepted("create", m.current, true, next, false)
	overlaps := rotator.Overlaps(m.Rotator)

	m.step(ctx, "set", next, func(ctx context.Context) error { return m.Rotator.Set(ctx, m.current, next) })
	m.accepted("set", m.current, overlaps, next, true)
	m.step(ctx, "test", next, func(ctx context.Context) error { return m.Rotator.Test(ctx, next) })

	if m.random.IntN(3) == 0 {
		m.step(ctx, "revoke", next, func(ctx context.Context) error { return m.Rotator.Revoke(ctx, m.current, next) })
		m.accepted("revoke", m.current, true, next, false)
		if err := m.Rotator.Test(ctx, next); !errors.Is(err, rotator.ErrRefused) {
			m.t.Errorf("the test of a credential that was revoked says %v", err)
		}
		return
	}
	previous := m.current
	m.current = next
	m.held.Store(&next)
	m.step(ctx, "finish", next, func(ctx context.Context) error { return m.Rotator.Finish(ctx, previous, next) })
	m.accepted("finish", previous, false, next, true)
}

// accepted fails the test unless the system accepts old and next as they say.
func (m *model) accepted(after string, old rotator.Credential, wantOld bool, next rotator.Credential, wantNext bool) {
	m.t.Helper()
	if got := m.LogsIn(old); got != wantOld {
		m.t.Errorf("after %s the old credential logs in: %v, want %v", after, got, wantOld)
	}
	if got := m.LogsIn(next); got != wantNext {
		m.t.Errorf("after %s the new credential logs in: %v, want %v", after, got, wantNext)
	}
}

// step calls do in one of the ways in which it may be called, until it has succeeded.
func (m *model) step(ctx context.Context, name string, next rotator.Credential, do func(context.Context) error) {
	m.t.Helper()
	switch m.random.IntN(4) {
	case 0: // twice
		m.check(name, do(ctx), next)
	case 1: // by two at once, one of which goes on when the other is done
		var other sync.WaitGroup
		other.Go(func() {
			err := do(ctx)
			m.leaks(err, next)
			if err != nil {
				m.t.Errorf("%s by another at one time: %v", name, err)
			}
		})
		m.check(name, do(ctx), next)
		other.Wait()
	case 2: // broken off, as by a crash
		short, cancel := context.WithTimeout(ctx, time.Duration(m.random.Int64N(int64(40*time.Millisecond))))
		m.leaks(do(short), next)
		cancel()
	}
	m.check(name, do(ctx), next)
}

func (m *model) check(name string, err error, next rotator.Credential) {
	m.t.Helper()
	m.leaks(err, next)
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
}

// leaks fails the test when an error holds a password.
func (m *model) leaks(err error, next rotator.Credential) {
	m.t.Helper()
	for _, c := range []rotator.Credential{m.current, next, m.First} {
		if err != nil && c.Password() != "" && strings.Contains(err.Error(), c.Password()) {
			m.t.Error("an error holds a password")
		}
	}
}
