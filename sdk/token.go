package sdk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// tokenMaxAge is after how long a token file is read again. The kubelet renews a
// projected token when 80 % of its life is over, which is at least 10 minutes long,
// so a minute is early enough.
const tokenMaxAge = time.Minute

// tokenSource gives the bearer token.
type tokenSource struct {
	file string
	now  func() time.Time

	mu     sync.Mutex
	token  string
	readAt time.Time
}

// get returns the token, reading the file when what is known is old.
func (s *tokenSource) get() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == "" || s.token != "" && s.now().Sub(s.readAt) < tokenMaxAge {
		return s.token, nil
	}
	return s.read()
}

// read takes up the token of the file.
func (s *tokenSource) read() (string, error) {
	content, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no token: %s does not exist; set %s or %s, or give the pod one: the label vault.coffer.dev/inject: \"true\", in a namespace with vault.coffer.dev/injection: enabled",
			s.file, EnvToken, EnvTokenFile)
	}
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", fmt.Errorf("read the token: %s is empty", s.file)
	}
	s.token, s.readAt = token, s.now()
	return token, nil
}

// renewed reports whether there is another token by now than the one that the server
// refused, and reads the file again for that. One that is the same would be refused again.
func (s *tokenSource) renewed(refused string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == "" {
		return false
	}
	if s.token != refused {
		return true // it was read since
	}
	token, err := s.read()
	return err == nil && token != refused
}
