// Package step tells a person at a terminal, or the reader of a CI log, what is being done and how long it took.
package step

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Reporter writes the story of a command. It is safe for use by several goroutines. Results, which other programs
// read, go to standard output and not through it.
type Reporter struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	now      func() time.Time
}

// New reports to a file, usually standard error; progress bars appear only if that is a terminal.
func New(out *os.File) *Reporter {
	return &Reporter{out: out, terminal: term.IsTerminal(int(out.Fd())), now: time.Now}
}

// NewPlain reports to any writer, without progress bars, by the given clock.
func NewPlain(out io.Writer, now func() time.Time) *Reporter {
	return &Reporter{out: out, now: now}
}

// Do announces what, does it, and tells how long it took or that it failed.
func (r *Reporter) Do(what string, do func() error) error {
	r.line("==> %s", what)
	start := r.now()
	err := do()
	if err != nil {
		r.line("    failed after %s: %s", Duration(r.now().Sub(start)), what)
		return err
	}
	r.line("    done in %s: %s", Duration(r.now().Sub(start)), what)
	return nil
}

// Say writes a line of the story.
func (r *Reporter) Say(format string, args ...any) { r.line(format, args...) }

func (r *Reporter) line(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, format+"\n", args...)
}

// Bar counts towards a total.
type Bar interface {
	Add(n int) error
	Finish() error
}

// Bar shows progress towards total on a terminal; elsewhere it says a line every tenth of the way.
func (r *Reporter) Bar(what string, total int) Bar {
	if !r.terminal {
		return &tenths{reporter: r, what: what, total: total}
	}
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(r.out),
		progressbar.OptionSetDescription("    "+what),
		progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(100*time.Millisecond))
}

// tenths is the progress bar of a log.
type tenths struct {
	mu       sync.Mutex
	reporter *Reporter
	what     string
	done     int
	total    int
}

func (b *tenths) Add(n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total == 0 {
		return nil
	}
	before := b.done * 10 / b.total
	b.done = min(b.done+n, b.total)
	if after := b.done * 10 / b.total; after > before {
		b.reporter.line("    %s: %d of %d", b.what, b.done, b.total)
	}
	return nil
}

func (b *tenths) Finish() error { return nil }

// Duration is d as people say it: to a tenth of a second, and whole seconds from a minute on.
func Duration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}
