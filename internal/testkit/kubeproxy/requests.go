package kubeproxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Request is what somebody asked of an API resource.
type Request struct {
	// Verb is RBAC's: get, list, watch, create, update, patch, delete or deletecollection.
	Verb string
	// Resource is in the plural, with its subresource, if any, such as vaultsecrets/status.
	Resource string
	// Namespace and Name are empty where the request names none.
	Namespace, Name string
	Query           url.Values
	// Accept says in which form an answer is wanted.
	Accept string
}

// WantsMetadata reports whether the answer should rather hold the metadata of objects and nothing else.
func (r Request) WantsMetadata() bool {
	best, _, _ := strings.Cut(r.Accept, ",") // whole objects, last, are for servers that know no better
	return strings.Contains(best, "as=PartialObjectMetadata")
}

// Requests are those that have come so far, in their order, whatever became of them. Questions for what the API server
// has (discovery) are not among them.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

func (p *Proxy) note(r *http.Request) {
	request, ok := requestOf(r)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, request)
}

// requestOf reads /api/VERSION/… and /apis/GROUP/VERSION/…; ok is false when r is about no resource.
func requestOf(r *http.Request) (request Request, ok bool) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return Request{}, false
	}
	request = Request{Query: r.URL.Query(), Accept: r.Header.Get("Accept")}
	if parts[0] == "namespaces" && len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
		request.Namespace, parts = parts[1], parts[2:]
	}
	request.Resource = parts[0]
	if len(parts) > 1 {
		request.Name = parts[1]
	}
	if len(parts) > 2 {
		request.Resource += "/" + strings.Join(parts[2:], "/")
	}
	request.Verb = verbOf(r.Method, request)
	return request, true
}

func verbOf(method string, r Request) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		switch {
		case r.Query.Get("watch") == "true" || r.Query.Get("watch") == "1":
			return "watch"
		case r.Name == "":
			return "list"
		}
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodDelete:
		if r.Name == "" {
			return "deletecollection"
		}
		return "delete"
	}
	return strings.ToLower(method)
}
