package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// TestReadAheadIsTheBody: what is decoded is what was sent, cut at the limit, with the
// error that reading met; and the connection has a deadline until all of it was read.
func TestReadAheadIsTheBody(t *testing.T) {
	broken := errors.New("broken off")
	for name, test := range map[string]struct {
		sent, want int
		err        error
		unlimited  bool // reading from the connection, in the end
	}{
		"nothing":                {0, 0, nil, true},
		"small":                  {smallBody, smallBody, nil, true},
		"small and broken off":   {smallBody, smallBody, broken, false},
		"large":                  {smallBody + 1, smallBody + 1, nil, true},
		"large and broken off":   {maxBodyBytes - 1, maxBodyBytes - 1, broken, false},
		"the largest":            {maxBodyBytes - 1, maxBodyBytes - 1, nil, true},
		"too large":              {maxBodyBytes, maxBodyBytes, nil, false},
		"too large and some MiB": {4 * maxBodyBytes, maxBodyBytes, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			sent := bytes.Repeat([]byte("0123456789abcde"), test.sent/15+1)[:test.sent]
			var body io.Reader = bytes.NewReader(sent)
			if test.err != nil {
				body = io.MultiReader(body, iotest.ErrReader(test.err))
			}
			var deadline time.Time
			b := newBodies()
			got, done, err := b.read(t.Context(), body, func(at time.Time) error { deadline = at; return nil })
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(got)
			if !bytes.Equal(content, sent[:test.want]) || !errors.Is(err, test.err) {
				t.Errorf("got %d bytes and %v; want the first %d that were sent, and %v", len(content), err, test.want, test.err)
			}
			if deadline.IsZero() != test.unlimited {
				t.Errorf("the deadline for reading is %v in the end", deadline)
			}
			done()
			if !b.large.TryAcquire(maxLargeBodies) {
				t.Error("a place for large bodies is still taken")
			}
		})
	}
}

// TestStalledLargeBodiesKeepNoSmallOnes: when every place for large bodies is taken by one
// that stalls, small ones are read; a large one is when a place is free, or ends with
// its context.
func TestStalledLargeBodiesKeepNoSmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodies()
		read := func(ctx context.Context, body io.Reader) error {
			_, done, err := b.read(ctx, body, func(time.Time) error { return nil })
			if err == nil {
				done()
			}
			return err
		}
		large := strings.Repeat("v", smallBody+1)
		var ends []*io.PipeWriter
		for range maxLargeBodies {
			body, client := io.Pipe()
			ends = append(ends, client)
			go func() { _, _ = io.WriteString(client, large) }()
			go func() { _ = read(t.Context(), body) }()
		}
		synctest.Wait()
		if err := read(t.Context(), strings.NewReader("v")); err != nil {
			t.Errorf("a small body: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := read(ctx, strings.NewReader(large)); !errors.Is(err, context.Canceled) {
			t.Errorf("a large body whose request has ended: %v", err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- read(t.Context(), strings.NewReader(large)) }()
		synctest.Wait()
		if len(waiting) > 0 {
			t.Error("a large body is read beyond the places for them")
		}
		_ = ends[0].Close()
		if err := <-waiting; err != nil {
			t.Errorf("a large body that waited: %v", err)
		}
		for _, end := range ends {
			_ = end.Close()
		}
	})
}
