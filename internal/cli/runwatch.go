package cli

import (
	"context"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// watchPaths tells, until ctx ends, that something may have changed: the channel has room
// for one word, which stands for all until it is taken. The watch's beginning is one, so
// that nothing is missed between the first reading and it.
func watchPaths(ctx context.Context, client *sdk.Client, paths []string, say func(format string, args ...any)) <-chan struct{} {
	changes := make(chan struct{}, 1)
	go func() {
		interrupted := false
		options := sdk.WatchOptions{Paths: paths, Retrying: func(err error, _ time.Duration) {
			if !interrupted {
				interrupted = true
				say("changes are not heard for now: %v", err)
			}
		}}
		for _, err := range client.Watch(ctx, options) {
			if err != nil {
				say("changes are not heard any more: %v", err)
				return
			}
			if interrupted {
				interrupted = false
				say("changes are heard again")
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes
}
