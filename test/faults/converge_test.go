//go:build failpoints

package faults

import (
	"errors"
	"fmt"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/changes"
)

// converge waits until all is as before a fault that has ended: each client is answered and, where there is Redis, it is
// told of changes. It returns what is not in time.
func (s *site) converge(t *testing.T) (late []string) {
	t.Helper()
	healed, last := s.mark(t), s.lastAnnounced(t)
	if err := s.poll(t, convergeWithin, func() error {
		if !everyClient(answered, 1)(s.since(t, healed)) {
			return errors.New("not every client was answered")
		}
		return nil
	}); err != nil {
		return []string{fmt.Sprintf("%v after the fault: %v\n%s", convergeWithin, err, s.outputTail())}
	}
	if err := s.poll(t, convergeWithin, func() error {
		if s.lastAnnounced(t) == last {
			return errors.New("no change is announced")
		}
		return nil
	}); err != nil {
		late = append(late, fmt.Sprintf("%v after the fault: %v", convergeWithin, err))
	}
	return late
}

// lastAnnounced is the id of the last change that Redis knows.
func (s *site) lastAnnounced(t *testing.T) string {
	t.Helper()
	client := s.redisClient(t)
	defer client.Close()
	last, err := client.XRevRangeN(t.Context(), changes.Stream, "+", "-", 1).Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(last) == 0 {
		return ""
	}
	return last[0].ID
}

// settle waits, during a pause, until Postgres works on nothing that was begun before.
func (s *site) settle(t *testing.T) {
	t.Helper()
	s.until(t, "transactions of before to end", convergeWithin, func() error {
		var open int
		s.query(t, &open, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'`)
		if open > 0 {
			return fmt.Errorf("%d are open", open)
		}
		return nil
	})
}

// unheard returns the changes that the follower was not told of in time.
func (s *site) unheard(t *testing.T) (wrong []string) {
	t.Helper()
	var missing []int64
	_ = s.poll(t, convergeWithin, func() error {
		told := s.toldOf(t)
		var committed []int64
		s.query(t, &committed, `SELECT coalesce(array_agg(position ORDER BY position), '{}') FROM changes WHERE position > $1`, s.heardFrom)
		missing = missing[:0]
		for _, position := range committed {
			if !told[position] {
				missing = append(missing, position)
			}
		}
		if len(missing) > 0 {
			return errors.New("some are missing")
		}
		return nil
	})
	for _, position := range missing {
		wrong = append(wrong, fmt.Sprintf("the follower was not told of the change at %d", position))
	}
	return wrong
}

// toldOf are the positions of the changes that the follower heard of.
func (s *site) toldOf(t *testing.T) map[int64]bool {
	t.Helper()
	told := map[int64]bool{}
	for _, e := range readHistory(t, s.log).events {
		if e.Op == heard {
			told[e.Version] = true
		}
	}
	return told
}
