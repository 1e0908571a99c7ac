package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// answersSeen are the statuses that each operation answered with, by "METHOD /route".
type answersSeen struct {
	mu     sync.Mutex
	status map[string]map[int]bool
}

func (s *answersSeen) note(operation string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status[operation] == nil {
		s.status[operation] = map[int]bool{}
	}
	s.status[operation][status] = true
}

// apiRequest is a request to an operation, "METHOD /route" as the description has it.
type apiRequest struct{ operation, query, body string }

// ask sends the request, with {id} of its route replaced, and notes its answer. Of a watch it hears the beginning.
func (s *answersSeen) ask(t *testing.T, e *env, a account, r apiRequest, key uint32, header ...string) answer {
	t.Helper()
	method, route, _ := strings.Cut(r.operation, " ")
	target := strings.Replace(route, "{id}", strconv.FormatUint(uint64(key), 10), 1) + r.query
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	request, err := http.NewRequestWithContext(ctx, method, e.url+target, strings.NewReader(r.body))
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+a.token)
	if r.body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	s.note(r.operation, response.StatusCode)
	if response.StatusCode == http.StatusOK && route == "/v1/watch" {
		return answer{status: response.StatusCode, header: response.Header}
	}
	content, err := io.ReadAll(response.Body)
	must(t, err)
	return answer{response.StatusCode, response.Header, string(content)}
}

// bodiless are the operations whose method has a body as a rule, and that read none.
var bodiless = []string{
	"POST /v1/audit/verify", "POST /v1/keyring/keys", "POST /v1/keyring/keys/{id}/promote", "POST /v1/keyring/keys/{id}/retire", "POST /v1/keyring/rewrap",
	"POST /v1/notifications/test", "POST /v1/rotations/approve", "POST /v1/rotations/cancel", "POST /v1/secret/destroy", "POST /v1/secret/undelete",
}

// unprovoked are the documented answers that no request of this test brings about, and why; without operations those of all.
var unprovoked = map[int]struct {
	why        string
	operations []string
}{
	http.StatusBadRequest: {"takes nothing that could be malformed without being of the wrong type", []string{
		"GET /v1/keyring", "POST /v1/keyring/keys", "POST /v1/keyring/rewrap", "GET /v1/policies", "GET /v1/policies/show", "GET /v1/whoami",
		"POST /v1/audit/verify", "DELETE /v1/keyring/keys/{id}",
	}},
	http.StatusNotFound: {"is about what the caller may see, which may be nothing", []string{
		"GET /v1/rotation", "GET /v1/rotation/overdue", "GET /v1/rotations", "GET /v1/secrets", "GET /v1/watch", "GET /v1/whoami",
	}},
	http.StatusConflict: {"has the statuses of every POST, and nothing that it could be in conflict with", []string{
		"POST /v1/audit/export", "POST /v1/audit/verify", "POST /v1/backup", "POST /v1/consumers/forget", "POST /v1/keyring/keys", "POST /v1/keyring/rewrap",
		"POST /v1/notifications/test", "POST /v1/secret/destroy", "POST /v1/secret/undelete", "POST /v1/secret/versions/undelete",
	}},
	http.StatusInternalServerError:   {"asks the vault nothing", []string{"GET /v1/whoami"}},
	http.StatusRequestTimeout:        {"needs a body that does not come: TestBodiesThatDoNotCome", nil},
	http.StatusUnsupportedMediaType:  {"has the statuses of every POST, and reads no body", bodiless},
	http.StatusRequestEntityTooLarge: {"has the statuses of every POST, and reads no body", bodiless},
}

// TestEveryOperation asks for every operation of the description, and for every status that it documents.
func TestEveryOperation(t *testing.T) {
	postgres := testkit.PostgresServer(t)
	dsn, err := postgres.CreateDatabase(t.Context(), "vault")
	must(t, err)
	v := vaulttest.StartWith(t, vaulttest.Config{DSN: dsn})
	e := start(t, v, func(c *server.Config) { c.Notifications = admitted{v.Engine} })
	admin, stranger := e.admin(t), e.account(t, "production")
	e.Allow(t, admin.caller, "sys/**", policy.Capabilities()...)
	seen := &answersSeen{status: map[string]map[int]bool{}}
	requests := requestsInOrder(t)

	key := seen.succeed(t, e, admin, requests)
	seen.conflict(t, e, admin, primaryKey(t, e, admin), key)
	seen.refuse(t, e, admin, stranger, requests, key)
	seen.beBusy(t, e, admin, requests, key)
	for _, open := range []string{"GET /livez", "GET /readyz", "GET /openapi.json"} {
		seen.ask(t, e, admin, apiRequest{open, "", ""}, key)
	}
	must(t, postgres.Stop(t.Context()))
	away := start(t, e.Env, nil) // the other one is ready for a moment still
	seen.ask(t, away, admin, apiRequest{"GET /readyz", "", ""}, key)
	for _, r := range requests {
		if got := seen.ask(t, e, admin, r, key); got.status != http.StatusServiceUnavailable && r.operation != "GET /v1/whoami" {
			t.Errorf("%s without Postgres: %d %s", r.operation, got.status, got.body)
		}
	}
	if diff := cmp.Diff(documentedAnswers(t), seen.list()); diff != "" {
		t.Errorf("statuses of operations (-documented +seen)\n%s", diff)
	}
}

// requestsInOrder are requests that succeed one after the other, by somebody who may do everything.
func requestsInOrder(t *testing.T) []apiRequest {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	const path, other = "?path=a/b", "?path=a/rotated"
	value := putBody(t, `{"user":"app"}`)
	pending := strings.Replace(value, "{", `{"pending":true,`, 1)
	return []apiRequest{
		{"GET /v1/whoami", "", ""},
		{"PUT /v1/secret", other, value},
		{"PUT /v1/secret", path, value},
		{"POST /v1/secret/rotate", path, value},
		{"GET /v1/secret", path, ""},
		{"PATCH /v1/secret", path, `{"description":"d"}`},
		{"PATCH /v1/secret/properties", path, `{"properties":{"user":"other"}}`},
		{"POST /v1/secret/rollback", path, `{"version":1}`},
		{"PUT /v1/secret", path, pending},
		{"POST /v1/secret/promote", path, `{}`},
		{"GET /v1/secret/metadata", path, ""},
		{"GET /v1/secret/versions", path, ""},
		{"POST /v1/secret/versions/delete", path, `{"versions":[2]}`},
		{"POST /v1/secret/versions/undelete", path, `{"versions":[2]}`},
		{"POST /v1/secret/versions/destroy", path, `{"versions":[2]}`},
		{"GET /v1/secrets", "?prefix=a/", ""},
		{"GET /v1/consumers", path, ""},
		{"POST /v1/consumers/forget", "", `{"cluster":"gone"}`},
		{"GET /v1/leak", path, ""},
		{"POST /v1/leak", path, `{"reason":"in a log"}`},
		{"POST /v1/notifications/test", "?sink=chat", ""},
		{"GET /v1/explain", path + "&capability=read", ""},
		{"GET /v1/watch", path, ""},
		{"GET /v1/rotation", "?prefix=a/", ""},
		{"GET /v1/rotation/overdue", "?prefix=a/", ""},
		{"GET /v1/rotations", "?prefix=a/", ""},
		{"GET /v1/rotations/show", other, ""},
		{"POST /v1/rotations/run", other, `{}`},
		{"POST /v1/rotations/approve", other, ""},
		{"POST /v1/rotations/cancel", other, ""},
		{"GET /v1/policies", "", ""},
		{"GET /v1/policies/show", "?name=vaulttest", ""},
		{"GET /v1/keyring", "", ""},
		{"POST /v1/keyring/keys", "", ""},
		{"POST /v1/keyring/keys/{id}/promote", "", ""},
		{"POST /v1/keyring/rewrap", "", ""},
		{"POST /v1/keyring/keys/{id}/retire", "", ""},
		{"DELETE /v1/keyring/keys/{id}", "", ""},
		{"POST /v1/backup", "", fmt.Sprintf(`{"recipients":[%q]}`, identity.Recipient())},
		{"GET /v1/audit", "?prefix=a/", ""},
		{"POST /v1/audit/export", "", `{"limit":1}`},
		{"POST /v1/audit/verify", "", ""},
		{"DELETE /v1/secret", path, ""},
		{"POST /v1/secret/undelete", path, ""},
		{"POST /v1/secret/destroy", path, ""},
	}
}

// succeed sends the requests. It returns the id of a key that is not there any more.
func (s *answersSeen) succeed(t *testing.T, e *env, admin account, requests []apiRequest) (key uint32) {
	t.Helper()
	old := primaryKey(t, e, admin)
	for _, r := range requests {
		switch r.operation {
		case "GET /v1/rotations/show":
			e.defineRotation(t, admin, "a/rotated")
		case "POST /v1/rotations/approve":
			e.failRotation(t)
		case "POST /v1/keyring/keys/{id}/retire":
			key = old
		}
		got := s.ask(t, e, admin, r, key)
		if got.status >= 300 {
			t.Fatalf("%s%s: %d %s", r.operation, r.query, got.status, got.body)
		}
		if r.operation == "POST /v1/keyring/keys" {
			key = decode[sdk.KeyringAdded](t, got).ID
		}
	}
	return key
}

// conflict asks for what is not possible in the state that things are in, and for what is not known any more.
func (s *answersSeen) conflict(t *testing.T, e *env, admin account, primary, gone uint32) {
	t.Helper()
	const path = "?path=a/conflict"
	value := putBody(t, `{"user":"app"}`)
	expected := strings.Replace(value, "{", `{"expectedVersion":9,`, 1)
	for range 2 {
		e.Put(t, "a/conflict", `{"user":"app"}`)
	}
	for _, r := range []apiRequest{
		{"PUT /v1/secret", path, expected},
		{"POST /v1/secret/rotate", path, expected},
		{"PATCH /v1/secret", path, `{"tags":{},"expectedVersion":9}`},
		{"PATCH /v1/secret/properties", path, `{"properties":{"user":"a"},"expectedVersion":9}`},
		{"POST /v1/secret/rollback", path, `{"version":1,"expectedVersion":9}`},
		{"POST /v1/secret/promote", path, `{"expectedVersion":9}`},
		{"POST /v1/secret/versions/delete", path, `{"versions":[2]}`},
		{"POST /v1/secret/versions/destroy", path, `{"versions":[2]}`},
		{"POST /v1/leak", "?path=a/rotated", `{}`},
		{"POST /v1/rotations/run", "?path=a/rotated", `{}`},
		{"POST /v1/rotations/approve", "?path=a/conflict", ""},
		{"POST /v1/rotations/cancel", "?path=a/conflict", ""},
		{"DELETE /v1/keyring/keys/{id}", "", ""},
		{"POST /v1/keyring/keys/{id}/retire", "", ""},
	} {
		if got := s.ask(t, e, admin, r, primary); got.status != http.StatusConflict {
			t.Errorf("%s%s: %d %s", r.operation, r.query, got.status, got.body)
		}
	}
	next := decode[sdk.KeyringAdded](t, s.ask(t, e, admin, apiRequest{"POST /v1/keyring/keys", "", ""}, 0)).ID
	for _, step := range []struct {
		operation string
		key       uint32
		want      int
	}{
		{"POST /v1/keyring/keys/{id}/promote", gone, http.StatusBadRequest},
		{"POST /v1/keyring/keys/{id}/promote", next, http.StatusNoContent},
		{"POST /v1/keyring/keys/{id}/retire", primary, http.StatusNoContent},
		{"POST /v1/keyring/keys/{id}/promote", primary, http.StatusConflict},
	} {
		if got := s.ask(t, e, admin, apiRequest{step.operation, "", ""}, step.key); got.status != step.want {
			t.Errorf("%s, key %d: %d %s, want %d", step.operation, step.key, got.status, got.body, step.want)
		}
	}
	if got := s.ask(t, e, admin, apiRequest{"GET /v1/watch", path, ""}, 0, "Last-Event-ID", "7"); got.status != http.StatusGone {
		t.Errorf("watch from a lost position: %d %s", got.status, got.body)
	}
}

// refuse asks in ways that are refused whatever is there.
func (s *answersSeen) refuse(t *testing.T, e *env, admin, stranger account, requests []apiRequest, key uint32) {
	t.Helper()
	for _, r := range requests {
		unknown, malformed, large := r, r, r
		unknown.query = "?" + strings.TrimPrefix(r.query+"&unknown=1", "?")
		malformed.query = strings.Replace(r.query, "a/", "a//", 1)
		if r.body != "" {
			malformed.body = "{"
		}
		large.body = `{"value":"` + strings.Repeat("A", 2<<20) + `"}`
		s.ask(t, e, stranger, r, key)
		s.ask(t, e, admin, unknown, key)
		s.ask(t, e, admin, malformed, key)
		if r.body != "" {
			s.ask(t, e, admin, large, key)
			s.ask(t, e, admin, r, key, "Content-Type", "text/plain")
		}
	}
	s.ask(t, e, admin, apiRequest{"GET /v1/audit", "?caller=%00", ""}, key)
	s.ask(t, e, stranger, apiRequest{"GET /v1/explain", "?path=a/b&user=somebody", ""}, key)
	silent := start(t, e.Env, nil)
	s.ask(t, silent, admin, apiRequest{"POST /v1/notifications/test", "", ""}, key) // which tells nobody of anything
	nobody := start(t, e.Env, func(c *server.Config) { c.Authenticator = nobodyKnown{c.Authenticator, authn.ErrUnauthenticated} })
	away := start(t, e.Env, func(c *server.Config) {
		c.Authenticator = nobodyKnown{c.Authenticator, errors.New("the API server is away")}
	})
	broken := start(t, e.Env, func(c *server.Config) {
		c.Vault, c.Notifications = struct{ server.Vault }{}, struct{ server.Notifications }{}
	})
	for _, r := range requests {
		s.ask(t, nobody, admin, r, key)
		s.ask(t, away, admin, r, key)
		s.ask(t, broken, admin, r, key)
	}
}

// beBusy asks what is answered when the caller asks too often.
func (s *answersSeen) beBusy(t *testing.T, e *env, admin account, requests []apiRequest, key uint32) {
	t.Helper()
	busy := start(t, e.Env, func(c *server.Config) { c.Rate, c.Burst = 0.001, 1 })
	busy.do(t, admin, http.MethodGet, "/v1/whoami", "")
	t.Run("too often", func(t *testing.T) { // all at a time: a refusal is held back
		for _, r := range requests {
			t.Run(r.operation, func(t *testing.T) {
				t.Parallel()
				s.ask(t, busy, admin, r, key)
			})
		}
	})
}

// admitted are notifications that one chat takes, from whom the vault lets test them.
type admitted struct{ engine *vault.Engine }

func (a admitted) Test(ctx context.Context, caller secret.Caller, sink string) ([]notification.Answer, error) {
	if _, err := a.engine.AdmitNotificationTest(ctx, caller); err != nil {
		return nil, err
	}
	return oneChat{caller}.Test(ctx, caller, sink)
}

// nobodyKnown refuses every token, with err.
type nobodyKnown struct {
	server.Authenticator
	err error
}

// Known implements server.Authenticator: as of one that was good before, so that the address is not held back.
func (nobodyKnown) Known(string) bool { return true }

func (n nobodyKnown) Authenticate(context.Context, string) (secret.Caller, error) {
	return secret.Caller{}, n.err
}

func primaryKey(t *testing.T, e *env, admin account) uint32 {
	t.Helper()
	status := decode[sdk.KeyringStatus](t, e.do(t, admin, http.MethodGet, "/v1/keyring", ""))
	i := slices.IndexFunc(status.Keys, func(k sdk.KeyringKey) bool { return k.State == sdk.KeyPrimary })
	if i < 0 {
		t.Fatal("no key is primary")
	}
	return status.Keys[i].ID
}

// defineRotation gives path a rotation that is held when it fails.
func (e *env) defineRotation(t *testing.T, a account, path string) {
	t.Helper()
	_, err := e.Engine.ReplaceRotations(t.Context(), clusterName, []rotation.Definition{{
		Name: "rotated", As: rotation.Identity{Namespace: a.caller.Namespace, ServiceAccount: a.caller.Name},
		Spec: rotation.Spec{
			Path: path, Method: rotation.Method{Kind: "password"}, Failure: rotation.Hold, Schedule: schedule.Spec{Every: model.Duration(30 * 24 * time.Hour)},
		},
	}})
	must(t, err)
}

// failRotation has the run that is under way fail, for good.
func (e *env) failRotation(t *testing.T) {
	t.Helper()
	claimed, err := e.Engine.ClaimRotation(t.Context(), time.Minute)
	must(t, err)
	if claimed == nil {
		t.Fatal("no run is to go on")
	}
	_, err = e.Engine.AdvanceRotation(t.Context(), claimed, vault.RotationProgress{
		Outcome: rotation.Outcome{Err: errors.New("made to fail"), Permanent: true}, Pace: rotation.UsualPace(), Lease: time.Minute,
	})
	must(t, err)
}

// list is what was seen, as documentedAnswers lists.
func (s *answersSeen) list() (list []string) {
	for operation, statuses := range s.status {
		list = append(list, fmt.Sprint(operation, " ", slices.Sorted(maps.Keys(statuses))))
	}
	slices.Sort(list)
	return list
}

// documentedAnswers lists "METHOD /route [200 400 …]", without what is unprovoked.
func documentedAnswers(t *testing.T) (list []string) {
	t.Helper()
	var description struct {
		Paths map[string]map[string]struct{ Responses map[string]any }
	}
	must(t, json.Unmarshal(server.OpenAPI(), &description))
	for route, methods := range description.Paths {
		for method, described := range methods {
			operation := strings.ToUpper(method) + " " + route
			var statuses []int
			for text := range described.Responses {
				status, err := strconv.Atoi(text)
				must(t, err)
				if u, is := unprovoked[status]; !is || u.operations != nil && !slices.Contains(u.operations, operation) {
					statuses = append(statuses, status)
				}
			}
			slices.Sort(statuses)
			list = append(list, fmt.Sprint(operation, " ", statuses))
		}
	}
	slices.Sort(list)
	return list
}
