// Package address says where a server is and how to log in there: by values, and by
// files that may change while the program runs, as mounted Secrets do.
//
// Files are read by name each time, and never watched: Kubernetes swaps a mounted
// folder by a symbolic link, and a watch would stay with the old one.
package address

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrEmpty says that a file holds nothing.
var ErrEmpty = errors.New("the file is empty")

// Source is where the parts of an address come from.
type Source struct {
	// URL is the address itself; it wins over Files.URL.
	URL   string
	Files Files
}

// Files name the files of an address. Each may be empty, and then counts for nothing.
type Files struct {
	// URL holds the address.
	URL string
	// Password replaces the one in the address.
	Password string
	// CA holds the PEM certificates of the authorities that may have signed the
	// server's; Cert and Key are what this client shows of itself.
	CA, Cert, Key string
}

// Address is a Source as it was read at one moment. It holds passwords and keys.
type Address struct {
	URL, Password string
	CA, Cert, Key []byte
}

// IsZero reports that the source names no address at all.
func (s Source) IsZero() bool { return s.URL == "" && s.Files.URL == "" }

// Read reads every file. An error names the file, and says nothing of what it holds.
func (s Source) Read() (Address, error) {
	a := Address{URL: s.URL}
	if (s.Files.Cert == "") != (s.Files.Key == "") {
		return Address{}, errors.New("a client certificate needs both a certificate file and a key file")
	}
	var err error
	if a.URL == "" {
		if a.URL, err = readLine(s.Files.URL); err != nil {
			return Address{}, fmt.Errorf("read the URL: %w", err)
		}
	}
	if s.Files.Password != "" {
		if a.Password, err = readLine(s.Files.Password); err != nil {
			return Address{}, fmt.Errorf("read the password: %w", err)
		}
	}
	for _, part := range []struct {
		file string
		to   *[]byte
	}{{s.Files.CA, &a.CA}, {s.Files.Cert, &a.Cert}, {s.Files.Key, &a.Key}} {
		if part.file == "" {
			continue
		}
		if *part.to, err = os.ReadFile(part.file); err != nil {
			return Address{}, fmt.Errorf("read a certificate: %w", err)
		}
		if len(*part.to) == 0 {
			return Address{}, fmt.Errorf("read a certificate: %s: %w", part.file, ErrEmpty)
		}
	}
	return a, nil
}

func readLine(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(content))
	if line == "" {
		return "", fmt.Errorf("%s: %w", file, ErrEmpty)
	}
	return line, nil
}

// fingerprint tells addresses apart. It is kept in memory only.
func (a Address) fingerprint() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(a.URL), []byte(a.Password), a.CA, a.Cert, a.Key} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
