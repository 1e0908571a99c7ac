package server_test

import (
	"bytes"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"

	"github.com/coffer-vault/coffer/internal/server"
)

// contract is what the API says of itself.
var contract = sync.OnceValues(func() (validator.Validator, error) {
	document, err := libopenapi.NewDocument(server.OpenAPI())
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(document, config.WithFormatAssertions(), config.WithContentAssertions(), config.WithLogger(slog.New(slog.DiscardHandler)))
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return v, nil
})

// holdToContract makes every request to handler a test of the description: what is
// served is described, with its status, type and body, and what succeeds was asked for
// as described.
func holdToContract(t *testing.T, handler http.Handler) http.Handler {
	t.Helper()
	v, err := contract()
	must(t, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
		if err != nil {
			t.Errorf("reading a request: %v", err)
		}
		asked := r.Clone(r.Context())
		asked.Body = io.NopCloser(bytes.NewReader(body))
		r.Body = io.NopCloser(bytes.NewReader(body))
		heard := &overheard{ResponseWriter: w}
		handler.ServeHTTP(heard, r)
		if heard.status == 0 {
			heard.status = http.StatusOK // with nothing to say
		}
		for _, problem := range breaches(v, asked, body, heard) {
			t.Errorf("%s %s, answered %d, is not as described: %s", r.Method, r.URL.Path, heard.status, problem)
		}
	})
}

// breaches are what of a request and its answer is not as described. It quotes nothing
// of the bodies.
func breaches(v validator.Validator, asked *http.Request, body []byte, heard *overheard) (found []string) {
	note := func(errs []*errors.ValidationError) {
		for _, e := range errs {
			if heard.status == http.StatusNotFound && (e.IsPathMissingError() || e.IsOperationMissingError()) {
				continue // a route that is neither described nor there
			}
			found = append(found, e.Message+": "+e.Reason)
			for _, s := range e.SchemaValidationErrors {
				found = append(found, s.FieldPath+" "+s.KeywordLocation)
			}
		}
	}
	if heard.status < 300 {
		if ok, errs := v.ValidateHttpRequestSync(asked); !ok {
			note(errs)
		}
	}
	asked.Body = io.NopCloser(bytes.NewReader(body))
	answer := &http.Response{StatusCode: heard.status, Header: heard.Header(), Body: io.NopCloser(bytes.NewReader(heard.body.Bytes())), Request: asked}
	if ok, errs := v.ValidateHttpResponse(asked, answer); !ok {
		note(errs)
	}
	return found
}

// overheard keeps what is answered, unless it is a stream.
type overheard struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (o *overheard) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *overheard) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	if kind, _, _ := mime.ParseMediaType(o.Header().Get("Content-Type")); kind == "application/json" || kind == "application/problem+json" {
		o.body.Write(b)
	}
	return o.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (o *overheard) Unwrap() http.ResponseWriter { return o.ResponseWriter }
