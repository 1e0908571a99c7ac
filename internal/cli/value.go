package cli

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxValueBytes is the largest value that the vault takes.
const maxValueBytes = 1 << 20

// valueSource is the flags that say where a value comes from.
type valueSource struct {
	file        string
	trimNewline bool
}

func (v *valueSource) bind(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&v.file, "file", "f", "", "file with the value; - or nothing: standard input, or a prompt on a terminal")
	cmd.Flags().BoolVar(&v.trimNewline, "trim-newline", false, "drop one newline from the end of the value")
	_ = cmd.MarkFlagFilename("file")
}

// read returns the value, byte for byte as it is given.
func (s *session) readValue(path string, v valueSource) ([]byte, error) {
	value, typed, err := s.readSource(path, v.file)
	switch {
	case err != nil:
		return nil, err
	case len(value) == 0:
		return nil, usagef("the value is empty; give it on standard input, or with --file")
	}
	if trimmed, found := bytes.CutSuffix(value, []byte("\n")); found && v.trimNewline {
		value = trimmed
	} else if found && !typed {
		_, _ = fmt.Fprintln(s.err, "Note: the value ends with a newline, which is kept; --trim-newline drops it.")
	}
	if len(value) > maxValueBytes {
		return nil, fmt.Errorf("the value has more than %d bytes, the most that one version can hold", maxValueBytes)
	}
	return value, nil
}

// readSource reads at most two bytes more than a value may have: a newline that is
// dropped, and one that shows that there is more. typed is set for a
// value from the prompt.
func (s *session) readSource(path, file string) (value []byte, typed bool, err error) {
	source := s.in
	if file != "" && file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, false, fmt.Errorf("read the value: %w", err)
		}
		defer func() { _ = opened.Close() }()
		source = opened
	} else if terminal, ok := terminalOf(s.in); ok {
		value, err := s.prompt(path, terminal)
		return value, true, err
	}
	value, err = awaited(s, func() ([]byte, error) { return io.ReadAll(io.LimitReader(source, maxValueBytes+2)) })
	if err != nil {
		return nil, false, fmt.Errorf("read the value: %w", err)
	}
	return value, false, nil
}

// prompt asks twice, without echo.
func (s *session) prompt(path string, terminal int) ([]byte, error) {
	ask := func(text string) ([]byte, error) {
		_, _ = fmt.Fprint(s.err, text)
		value, err := s.readHidden(terminal)
		_, _ = fmt.Fprintln(s.err)
		if err != nil {
			return nil, fmt.Errorf("read the value: %w", err)
		}
		return value, nil
	}
	value, err := ask("Value of " + path + " (not shown): ")
	if err != nil {
		return nil, err
	}
	again, err := ask("Once more: ")
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if !bytes.Equal(value, again) {
		clear(value)
		return nil, fmt.Errorf("the two values differ; nothing was written")
	}
	return value, nil
}

// terminalOf returns the descriptor of stream when it is a terminal.
func terminalOf(stream any) (int, bool) {
	file, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	return int(file.Fd()), true
}

// alphabet has 64 characters, so that a random byte cut to 6 bits picks each with the
// same chance. None needs quoting in shells, URLs or .env files.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// generate makes a random value of length characters, 6 bits each.
func generate(length int) []byte {
	value := make([]byte, length)
	_, _ = rand.Read(value) // never fails, as crypto/rand documents
	for i, b := range value {
		value[i] = alphabet[b%64]
	}
	return value
}
