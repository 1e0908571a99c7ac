package server

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// descriptionType is the media type of the description of the API.
const descriptionType = "application/openapi+json"

// serveOpen adds to mux what needs no token.
func (a *api) serveOpen(mux *http.ServeMux, description []byte) {
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", a.ready)
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", descriptionType)
		_, _ = w.Write(description)
	})
}

// describeOpen describes what serveOpen adds. It is not registered with huma: it has neither a
// token nor a turn.
func describeOpen(o *huma.OpenAPI) {
	open := func(path, id, summary string, ok *huma.Response) *huma.Operation {
		operation := &huma.Operation{
			Method: http.MethodGet, Path: path, OperationID: id, Summary: summary,
			Security:  []map[string][]string{}, // none, in place of that of the whole API
			Responses: map[string]*huma.Response{"200": ok},
		}
		o.AddOperation(operation)
		return operation
	}
	open("/livez", "live", "Whether the server runs", &huma.Response{Description: "It does"})
	ready := open("/readyz", "ready", "Whether the server can serve", &huma.Response{Description: "It has its keys and reaches its database"})
	ready.Responses["503"] = &huma.Response{Description: http.StatusText(http.StatusServiceUnavailable), Content: map[string]*huma.MediaType{
		problemType: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}},
	}}
	open("/openapi.json", "describe", "This description", &huma.Response{Description: http.StatusText(http.StatusOK), Content: map[string]*huma.MediaType{
		descriptionType: {Schema: &huma.Schema{Type: huma.TypeObject}},
	}})
}

// ready answers 200 when the vault can serve.
func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	if err := a.readiness.of(r.Context(), a.vault.Ready); err != nil {
		a.logger.WarnContext(r.Context(), "not ready", "error", err)
		writeProblem(w, problemOf("", secret.ErrUnavailable))
	}
}
