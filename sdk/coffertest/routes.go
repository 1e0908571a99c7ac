package coffertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/coffer-vault/coffer/sdk"
)

// maxBody holds a value of the largest size in base64 and what stands beside it.
const maxBody = 3 << 19

// readyRoute needs no token.
const readyRoute = "/readyz"

// handler is the API.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, serve func(r *http.Request, query url.Values) (any, *sdk.Problem)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			s.mu.Lock()
			out, p := serve(r, r.URL.Query())
			s.mu.Unlock()
			answer(w, out, p)
		})
	}
	route("GET /v1/secret", s.getSecret)
	route("PUT /v1/secret", s.writing(false))
	route("POST /v1/secret/rotate", s.writing(true))
	route("PATCH /v1/secret", s.updateSecret)
	route("PATCH /v1/secret/properties", s.patchSecret)
	route("DELETE /v1/secret", func(_ *http.Request, q url.Values) (any, *sdk.Problem) { return nil, s.remove(q.Get("path")) })
	route("GET /v1/secret/metadata", s.getMetadata)
	route("GET /v1/secret/versions", s.getVersions)
	route("POST /v1/secret/rollback", s.rollbackSecret)
	route("POST /v1/secret/promote", s.promoteSecret)
	route("POST /v1/secret/undelete", s.undeleteSecret)
	route("POST /v1/secret/destroy", s.destroySecret)
	route("POST /v1/secret/versions/delete", s.amendVersions(deleting))
	route("POST /v1/secret/versions/undelete", s.amendVersions(undeleting))
	route("POST /v1/secret/versions/destroy", s.amendVersions(destroying))
	route("GET /v1/consumers", s.listConsumers)
	route("GET /v1/secrets", s.listSecrets)
	route("GET /v1/rotation", s.listReminders)
	route("GET /v1/rotation/overdue", s.listOverdue)
	route("GET /v1/whoami", func(*http.Request, url.Values) (any, *sdk.Problem) {
		return sdk.Identity{Kind: "User", Cluster: cluster, Name: caller}, nil
	})
	mux.HandleFunc("GET /v1/watch", s.watch)
	mux.HandleFunc("GET "+readyRoute, func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, problem(http.StatusNotFound, sdk.CodeInvalid, "the test server does not do %s %s: test this against Coffer itself", r.Method, r.URL.Path))
	})
	return s.admit(mux)
}

// answer sends out, nothing when it is nil, or p.
func answer(w http.ResponseWriter, out any, p *sdk.Problem) {
	switch {
	case p != nil:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p)
	case out == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out)
	}
}

func problem(status int, code sdk.Code, format string, args ...any) *sdk.Problem {
	return &sdk.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func decodeBody(r *http.Request, into any) *sdk.Problem {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return problem(http.StatusRequestEntityTooLarge, sdk.CodeTooLarge, "the body is too large")
	}
	if json.Unmarshal(body, into) != nil {
		return problem(http.StatusBadRequest, sdk.CodeInvalid, "the body is not the JSON that the API takes")
	}
	return nil
}

func (s *Server) getSecret(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	path, which := q.Get("path"), q.Get("version")
	s.reads[path]++
	found, p := s.live(path)
	if p != nil {
		return nil, p
	}
	v, p := found.version(which)
	if p != nil {
		return nil, p
	}
	s.noteRead(path, v.number)
	return sdk.Secret{Metadata: found.describe(v), Value: v.value}, nil
}

// writing serves Put, or Rotate of a path that must exist.
func (s *Server) writing(mustExist bool) func(*http.Request, url.Values) (any, *sdk.Problem) {
	return func(r *http.Request, q url.Values) (any, *sdk.Problem) {
		var request sdk.PutRequest
		if p := decodeBody(r, &request); p != nil {
			return nil, p
		}
		return s.once(r, q.Get("path"), request, func() (sdk.Metadata, *sdk.Problem) {
			return s.write(q.Get("path"), request, mustExist)
		})
	}
}

func (s *Server) patchSecret(r *http.Request, q url.Values) (any, *sdk.Problem) {
	var request struct {
		Properties      json.RawMessage `json:"properties"`
		ExpectedVersion *int64          `json:"expectedVersion"`
	}
	if p := decodeBody(r, &request); p != nil {
		return nil, p
	}
	return s.once(r, q.Get("path"), request, func() (sdk.Metadata, *sdk.Problem) {
		found, p := s.live(q.Get("path"))
		if p != nil {
			return sdk.Metadata{}, p
		}
		if p := expect(request.ExpectedVersion, found.current); p != nil {
			return sdk.Metadata{}, p
		}
		value, err := mergePatch(found.at(found.current).value, request.Properties)
		if err != nil {
			return sdk.Metadata{}, problem(http.StatusBadRequest, sdk.CodeInvalid, "%v", err)
		}
		return s.write(q.Get("path"), sdk.PutRequest{Value: value}, false) // told as a put
	})
}

func (s *Server) getMetadata(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	found, p := s.live(q.Get("path"))
	if p != nil {
		return nil, p
	}
	return found.describe(found.at(found.current)), nil
}

func (s *Server) getVersions(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	find := s.live
	if q.Get("deleted") == "true" {
		find = s.gone
	}
	found, p := find(q.Get("path"))
	if p != nil {
		return nil, p
	}
	return sdk.VersionList{Items: found.list()}, nil
}

func (s *Server) rollbackSecret(r *http.Request, q url.Values) (any, *sdk.Problem) {
	var request sdk.RollbackRequest
	if p := decodeBody(r, &request); p != nil {
		return nil, p
	}
	which := sdk.LabelPrevious
	if request.Version != 0 {
		which = strconv.FormatInt(request.Version, 10)
	}
	return s.relabel(q.Get("path"), which, sdk.EventRollback, request.ExpectedVersion)
}

func (s *Server) promoteSecret(r *http.Request, q url.Values) (any, *sdk.Problem) {
	var request sdk.PromoteRequest
	if p := decodeBody(r, &request); p != nil {
		return nil, p
	}
	return s.relabel(q.Get("path"), sdk.LabelPending, sdk.EventPromote, request.ExpectedVersion)
}

func (s *Server) undeleteSecret(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	return s.undelete(q.Get("path"))
}

func (s *Server) listSecrets(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	prefix, p := parsePrefix(q.Get("prefix"))
	if p != nil {
		return nil, p
	}
	if after := q.Get("after"); after != "" {
		if p := checkPath(after); p != nil {
			return nil, p
		}
	}
	limit := 100
	if text := q.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > 1000 {
			return nil, problem(http.StatusUnprocessableEntity, sdk.CodeInvalid, "the limit is a number from 1 to 1000")
		}
	}
	out := sdk.SecretList{Items: s.list(prefix, q.Get("after"), limit)}
	if len(out.Items) == limit {
		out.Next = out.Items[limit-1].Path
	}
	return out, nil
}
