package keyservice

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Transit is a server with a transit engine at transit/ that has the key coffer, and
// with the Kubernetes auth method at kubernetes/ that has the role coffer. It speaks
// the API of https://openbao.org/api-docs/secret/transit and …/auth/kubernetes, as
// far as a root key uses it.
type Transit struct {
	// Address and CAFile are how to reach it.
	Address, CAFile string

	mu     sync.Mutex
	behave TransitBehaviour
	logins int
}

// TransitBehaviour is how the server answers.
type TransitBehaviour struct {
	// Token is the one it takes; token-1 when empty.
	Token string
	// Namespace and JWT are what requests must bring.
	Namespace, JWT string
	// Version is the newest one of the key; 1 when 0. MinDecryption is the oldest that
	// it decrypts with.
	Version, MinDecryption int
	// Status, when not 0, is what it answers everything with; RedirectTo goes with it.
	Status     int
	RedirectTo string
	// Lease is that of tokens from a login, in seconds.
	Lease int
}

// StartTransit runs a server until the test ends.
func StartTransit(t testing.TB) *Transit {
	t.Helper()
	s := &Transit{CAFile: filepath.Join(t.TempDir(), "ca.crt")}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/transit/{do}/coffer", s.transit)
	mux.HandleFunc("/v1/auth/kubernetes/login", s.login)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "no handler for route "+strconv.Quote(strings.TrimPrefix(r.URL.Path, "/v1/")))
	})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch b := s.behaviour(); {
		case b.Status != 0:
			w.Header().Set("Location", b.RedirectTo)
			refuse(w, b.Status, "so it was told")
		case r.Header.Get("X-Vault-Namespace") != b.Namespace:
			refuse(w, http.StatusForbidden, "permission denied")
		case r.Method != http.MethodPost && r.Method != http.MethodPut:
			refuse(w, http.StatusMethodNotAllowed, "1 error occurred:\n\t* unsupported operation\n\n")
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.Address = server.URL
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(s.CAFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Change makes the server answer otherwise.
func (s *Transit) Change(b TransitBehaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behave = b
}

// Logins counts them.
func (s *Transit) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

func (s *Transit) behaviour() TransitBehaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.behave
	if b.Token == "" {
		b.Token = "token-1"
	}
	b.Version = max(b.Version, 1)
	return b
}

func refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {reason}})
}

func answer(w http.ResponseWriter, field string, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "1", field: value})
}

func (s *Transit) transit(w http.ResponseWriter, r *http.Request) {
	b := s.behaviour()
	if r.Header.Get("X-Vault-Token") != b.Token {
		refuse(w, http.StatusForbidden, "permission denied")
		return
	}
	var request struct{ Plaintext, Ciphertext string }
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		refuse(w, http.StatusBadRequest, "failed to parse JSON input")
		return
	}
	do := r.PathValue("do")
	if do == "encrypt" {
		plaintext, err := base64.StdEncoding.DecodeString(request.Plaintext)
		if err != nil || request.Plaintext == "" {
			refuse(w, http.StatusBadRequest, "failed to base64-decode plaintext")
			return
		}
		answer(w, "data", b.encrypt(plaintext))
		return
	}
	plaintext, err := b.decrypt(request.Ciphertext)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, err.Error())
	case do == "decrypt":
		answer(w, "data", map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plaintext)})
	case do == "rewrap":
		answer(w, "data", b.encrypt(plaintext))
	default:
		refuse(w, http.StatusNotFound, "no handler for route")
	}
}

func keyName(version int) string { return fmt.Sprintf("transit/coffer v%d", version) }

func (b TransitBehaviour) encrypt(plaintext []byte) map[string]any {
	sealed := base64.StdEncoding.EncodeToString(seal(keyName(b.Version), plaintext))
	return map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", b.Version, sealed), "key_version": b.Version}
}

func (b TransitBehaviour) decrypt(ciphertext string) ([]byte, error) {
	rest, ok := strings.CutPrefix(ciphertext, "vault:v")
	number, encoded, found := strings.Cut(rest, ":")
	version, err := strconv.Atoi(number)
	if !ok || !found || err != nil || version < 1 {
		return nil, fmt.Errorf("invalid ciphertext: no prefix")
	}
	if version > b.Version {
		return nil, fmt.Errorf("invalid ciphertext: version is too new")
	}
	if version < b.MinDecryption {
		return nil, fmt.Errorf("ciphertext or signature version is disallowed by policy (too old)")
	}
	sealed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("invalid ciphertext: could not decode base64")
	}
	return open(keyName(version), sealed)
}

func (s *Transit) login(w http.ResponseWriter, r *http.Request) {
	b := s.behaviour()
	var request struct{ Role, JWT string }
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		refuse(w, http.StatusBadRequest, "failed to parse JSON input")
		return
	}
	switch {
	case request.Role != "coffer":
		refuse(w, http.StatusBadRequest, fmt.Sprintf("invalid role name %q", request.Role))
	case request.JWT != b.JWT:
		refuse(w, http.StatusForbidden, "permission denied")
	default:
		s.mu.Lock()
		s.logins++
		s.mu.Unlock()
		answer(w, "auth", map[string]any{"client_token": b.Token, "lease_duration": b.Lease, "renewable": true})
	}
}
