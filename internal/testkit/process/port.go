package process

import (
	"fmt"
	"net"
)

// FreePort returns a TCP port that was free on the loopback address a moment ago. Another program may take it before
// the caller does, so callers try again with another one when their server cannot bind it.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
