package sdk

import (
	"bufio"
	"bytes"
	"io"
)

// maxEventLine is far above the longest line of an event.
const maxEventLine = 64 << 10

// message is one server-sent event.
type message struct {
	id   string
	data []byte
}

// readEvents gives take the server-sent events of r, until r ends or take fails; alive
// hears of every line. The error is never nil: io.EOF when r ended in order. What
// stands before the blank line that would end it is dropped, as the HTML standard has
// it: half an event is none.
func readEvents(r io.Reader, alive func(), take func(message) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4<<10), maxEventLine)
	var m message
	for lines.Scan() {
		alive()
		line := lines.Bytes()
		if len(line) == 0 {
			if m.id != "" || len(m.data) > 0 {
				if err := take(m); err != nil {
					return err
				}
			}
			m = message{}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			m.id = string(value)
		case "data":
			if len(m.data) > 0 {
				m.data = append(m.data, '\n')
			}
			m.data = append(m.data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}
