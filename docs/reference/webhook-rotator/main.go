// Command webhook-rotator is the example of docs/reference/webhook-rotator.md: a service that rotates the password of
// a system which it keeps in its own memory. Put your system's calls where it changes the map accepted.
package main

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	hook, err := newService(os.Getenv("SIGNING_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: ":8443", Handler: hook, ReadTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServeTLS("tls.crt", "tls.key"))
}

type credential map[string]string

type service struct {
	verifier *standardwebhooks.Webhook

	mu       sync.Mutex
	created  map[string]credential // by rotation: create may come again, and is answered the same
	accepted map[string]bool       // by password: the system itself
}

func newService(signingKey string) (*service, error) {
	verifier, err := standardwebhooks.NewWebhook(signingKey)
	return &service{verifier: verifier, created: map[string]credential{}, accepted: map[string]bool{}}, err
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := s.verifier.Verify(body, r.Header); err != nil { // the signature, and that it is at most five minutes old
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var m struct {
		Step, Rotation          string
		Previous, Current, Next credential
	}
	if err := json.Unmarshal(body, &m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Step {
	case "create":
		if s.created[m.Rotation] == nil {
			s.created[m.Rotation] = credential{"password": rand.Text()}
		}
		_ = json.NewEncoder(w).Encode(map[string]credential{"next": s.created[m.Rotation]})
	case "set":
		s.accepted[m.Next["password"]] = true
	case "test":
		if !s.accepted[m.Next["password"]] {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	case "finish":
		delete(s.accepted, m.Previous["password"])
		delete(s.created, m.Rotation)
	case "revoke":
		delete(s.accepted, m.Next["password"])
		delete(s.created, m.Rotation)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}
