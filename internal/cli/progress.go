package cli

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far work is: as a bar on a terminal, and in a line at a time
// elsewhere.
type progress struct {
	at  func(done, total int64)
	end func()
}

// quiet shows nothing.
var quiet = progress{at: func(int64, int64) {}, end: func() {}}

// lineEvery is how often a line is written where there is no terminal.
const lineEvery = 10 * time.Second

// showProgress begins to show, on standard error, the progress of doing ("rewrapping") some things ("versions").
func (s *session) showProgress(doing, things string) progress {
	if _, ok := terminalOf(s.err); ok {
		bar := progressbar.NewOptions64(0, progressbar.OptionSetWriter(s.err), progressbar.OptionSetDescription(doing),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(things),
			progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
		return progress{
			at: func(done, total int64) {
				bar.ChangeMax64(max(total, 1))
				_ = bar.Set64(done)
			},
			end: func() { _ = bar.Clear() },
		}
	}
	start := s.now()
	last := start
	return progress{
		at: func(done, total int64) {
			if now := s.now(); now.Sub(last) >= lineEvery && done < total {
				last = now
				_, _ = fmt.Fprintf(s.err, "%d of %d %s, %.0f a second\n", done, total, things, float64(done)/now.Sub(start).Seconds())
			}
		},
		end: func() {},
	}
}
