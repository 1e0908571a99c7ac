package cli

import (
	"bufio"
	"errors"
	"fmt"
	"time"

	"golang.org/x/term"
)

// errInterrupted says that the program was told to end while it waited for a person, or for what they pipe into it.
var errInterrupted = errors.New("interrupted")

// awaited is what read brings, or errInterrupted when the program is to end first: a read of a terminal or of a pipe knows nothing of
// that. One that is given up goes on until the program ends, which is next.
func awaited[T any](s *session, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	given := make(chan answer, 1)
	select {
	case <-s.interrupted:
		return none, errInterrupted
	default:
	}
	go func() {
		value, err := read()
		given <- answer{value, err}
	}()
	select {
	case <-s.interrupted:
		return none, errInterrupted
	case a := <-given:
		select {
		case <-s.interrupted: // which ends the other end of a pipe, too: what came from there may be a part
			return none, errInterrupted
		default:
			return a.value, a.err
		}
	}
}

// readLine waits for a line of what, such as "the confirmation".
func (s *session) readLine(in *bufio.Reader, what string) (string, error) {
	line, err := awaited(s, func() (string, error) { return in.ReadString('\n') })
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	return line, nil
}

// readHidden waits for a line that is typed without echo.
func (s *session) readHidden(terminal int) ([]byte, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	line, err := awaited(s, func() ([]byte, error) { return term.ReadPassword(terminal) })
	if errors.Is(err, errInterrupted) {
		showAgain(terminal, before)
	}
	return line, err
}

// showAgain turns the echo of a terminal on again, which a read that is given up turned off. It gives that read a moment to begin: it
// would turn the echo off later otherwise.
func showAgain(terminal int, before *term.State) {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for range 100 {
		if now, err := term.GetState(terminal); err != nil || *now != *before {
			break
		}
		<-look.C
	}
	_ = term.Restore(terminal, before)
}
