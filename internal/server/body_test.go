package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// TestReadAheadIsTheBody: what is decoded is what was sent, cut at the limit, unless
// reading met an error; and the connection has a deadline until all of it was read.
func TestReadAheadIsTheBody(t *testing.T) {
	broken := errors.New("broken off")
	for name, test := range map[string]struct {
		sent, want int
		err        error
		unlimited  bool // reading from the connection, in the end
	}{
		"nothing":                {0, 0, nil, true},
		"small":                  {smallBody, smallBody, nil, true},
		"small and broken off":   {smallBody, 0, broken, false},
		"large":                  {smallBody + 1, smallBody + 1, nil, true},
		"large and broken off":   {maxBodyBytes - 1, 0, broken, false},
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
			if !errors.Is(err, test.err) {
				t.Fatalf("got the error %v, want %v", err, test.err)
			}
			if err == nil {
				content, err := io.ReadAll(got)
				if !bytes.Equal(content, sent[:test.want]) || err != nil {
					t.Errorf("got %d bytes and %v; want the first %d that were sent", len(content), err, test.want)
				}
				done()
			}
			if deadline.IsZero() != test.unlimited {
				t.Errorf("the deadline for reading is %v in the end", deadline)
			}
			if !b.large.TryAcquire(maxLargeBodies) {
				t.Error("a place for large bodies is still taken")
			}
		})
	}
}

// TestBodiesThatDoNotCome are told from faults of the server, and those that came too slowly
// from those that cannot succeed.
func TestBodiesThatDoNotCome(t *testing.T) {
	handler := New(Config{Vault: &strict{t}, Authenticator: everyone{}, Logger: slog.New(slog.DiscardHandler)})
	small, large := `{"value":"`, `{"value":"`+strings.Repeat("A", smallBody)
	for name, test := range map[string]struct {
		body   io.Reader
		kind   string
		status int
		code   sdk.Code
	}{
		"too slow":             {io.MultiReader(strings.NewReader(small), iotest.ErrReader(os.ErrDeadlineExceeded)), "application/json", 408, sdk.CodeUnavailable},
		"large and too slow":   {io.MultiReader(strings.NewReader(large), iotest.ErrReader(os.ErrDeadlineExceeded)), "application/json", 408, sdk.CodeUnavailable},
		"broken off":           {io.MultiReader(strings.NewReader(small), iotest.ErrReader(io.ErrUnexpectedEOF)), "application/json", 400, sdk.CodeInvalid},
		"large and broken off": {io.MultiReader(strings.NewReader(large), iotest.ErrReader(io.ErrUnexpectedEOF)), "application/json", 400, sdk.CodeInvalid},
		"no JSON":              {strings.NewReader("value=x"), "text/plain", 415, sdk.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v1/secret?path=a/b", test.body)
			request.Header.Set("Content-Type", test.kind)
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			var p sdk.Problem
			if err := json.Unmarshal(recorder.Body.Bytes(), &p); err != nil || recorder.Code != test.status || p.Code != test.code {
				t.Errorf("got %d %s (%s), %v; want %d %s", recorder.Code, p.Code, p.Detail, err, test.status, test.code)
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
