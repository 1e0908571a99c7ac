package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOverdueIsCountedAtAnEasyPace: at the start, again soon when that failed, and then every ten minutes or so until the manager ends.
func TestOverdueIsCountedAtAnEasyPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		begun := time.Now()
		var at []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		c := &overdueCount{logger: slog.New(slog.NewTextHandler(&said, nil)), count: func(context.Context) error {
			at = append(at, time.Since(begun))
			switch len(at) {
			case 1:
				return errors.New("the database is away")
			case 4:
				cancel()
			}
			return nil
		}}
		if err := c.Start(ctx); err != nil {
			t.Error(err)
		}
		const jitter = time.Minute
		if len(at) != 4 || at[0] != 0 || at[1] != 30*time.Second {
			t.Fatalf("it counts at %v", at)
		}
		for i := 2; i < len(at); i++ {
			if between := at[i] - at[i-1]; between < 10*time.Minute || between > 10*time.Minute+jitter {
				t.Errorf("it counts at %v", at)
			}
		}
		if got := strings.Count(said.String(), "what is overdue was not counted; trying again"); got != 1 {
			t.Errorf("it is said %d times: %s", got, said.String())
		}
		if c.NeedLeaderElection() {
			t.Error("only the leader counts")
		}
	})
}
