package cli

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

// drawEvery is how often a bar of bytes is drawn at most: they come in thousands of pieces.
const drawEvery = 100 * time.Millisecond

// showBytes begins to show, on a terminal, the progress of doing ("backing up") with a number of bytes; total is -1 when nobody knows how
// many there will be. Elsewhere it shows nothing.
func (s *session) showBytes(doing string, total int64) progress {
	if _, ok := terminalOf(s.err); !ok {
		return quiet
	}
	bar := progressbar.NewOptions64(total, progressbar.OptionSetWriter(s.err), progressbar.OptionSetDescription(doing),
		progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(total >= 0), progressbar.OptionSetPredictTime(total >= 0),
		progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish(), progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionThrottle(drawEvery), progressbar.OptionSetSpinnerChangeInterval(0)) // 0: it is drawn by whoever writes, and by nobody later
	return progress{
		at:  func(done, _ int64) { _ = bar.Set64(done) },
		end: func() { _ = bar.Clear() },
	}
}

// shownFile is a backup that shows how far it is read.
type shownFile struct {
	*os.File
	session *session
	size    int64
	// passes are what each reading from the start on does; the last one stands for all that follow.
	passes []string
	at     int64
	show   progress
}

func (s *session) showReading(f *os.File, passes ...string) (*shownFile, error) {
	about, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &shownFile{File: f, session: s, size: about.Size(), passes: passes, show: quiet}, nil
}

// Read implements io.Reader.
func (f *shownFile) Read(p []byte) (int, error) {
	if f.at == 0 {
		f.show.end()
		f.show = f.session.showBytes(f.passes[0], f.size)
		f.passes = f.passes[min(1, len(f.passes)-1):]
	}
	n, err := f.File.Read(p)
	f.at += int64(n)
	f.show.at(f.at, f.size)
	return n, err
}

// Seek implements io.Seeker.
func (f *shownFile) Seek(offset int64, whence int) (at int64, err error) {
	f.at, err = f.File.Seek(offset, whence)
	return f.at, err
}

// shownWriter shows how much is written.
type shownWriter struct {
	io.Writer
	show progress
	done int64
}

// Write implements io.Writer.
func (w *shownWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.done += int64(n)
	w.show.at(w.done, -1)
	return n, err
}
