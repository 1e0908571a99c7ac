package sdk

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzEvents reads any stream, whole and byte by byte: the same messages come, none is
// empty, and it ends with an error.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{
		"id: 1\ndata: {}\n\n", "data: a\ndata: b\n\n", ":\n\n:\n\n", "id\ndata\n\n", "data:a\r\n\r\n", "event: x\nretry: 7\n\n", "data: half\n", "\n\n\n",
		"data: " + strings.Repeat("x", maxEventLine) + "\n\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		read := func(r io.Reader) (messages []message) {
			err := readEvents(r, func() {}, func(m message) error {
				if m.id == "" && len(m.data) == 0 {
					t.Error("an empty message")
				}
				messages = append(messages, m)
				return nil
			})
			if err == nil {
				t.Error("it ended without an error")
			}
			return messages
		}
		whole, bytes := read(strings.NewReader(s)), read(iotest.OneByteReader(strings.NewReader(s)))
		if len(whole) != len(bytes) {
			t.Fatalf("%d messages, and %d byte by byte", len(whole), len(bytes))
		}
		for i := range whole {
			if whole[i].id != bytes[i].id || string(whole[i].data) != string(bytes[i].data) {
				t.Errorf("%+v, and %+v byte by byte", whole[i], bytes[i])
			}
		}
	})
}

// TestEventsEndWithWhoTakesThem: nothing is read after an error.
func TestEventsEndWithWhoTakesThem(t *testing.T) {
	full, taken := errors.New("full"), 0
	err := readEvents(strings.NewReader("data: a\n\ndata: b\n\n"), func() {}, func(message) error { taken++; return full })
	if !errors.Is(err, full) || taken != 1 {
		t.Errorf("%d taken, %v", taken, err)
	}
}
