package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

const problemType = "application/problem+json"

// Problem is an error on its way to the client.
type Problem struct{ sdk.Problem }

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (*Problem) ContentType(string) string { return problemType }

// answers maps the errors of the engine, most telling first. What is not here is a
// fault of ours: the client learns nothing of it.
var answers = []struct {
	err    error
	status int
	code   sdk.Code
	// detail replaces the error's own text when not empty.
	detail string
}{
	{secret.ErrDenied, http.StatusNotFound, sdk.CodeNotFoundOrDenied, "the path does not exist, or you may not do this"},
	{secret.ErrVersionNotFound, http.StatusNotFound, sdk.CodeVersionNotFound, ""},
	{secret.ErrConflict, http.StatusConflict, sdk.CodeConflict, ""},
	{secret.ErrPositionLost, http.StatusGone, sdk.CodePositionLost, "what changed since Last-Event-ID is not known any more, or the id is of another vault; read everything again, and watch without it"},
	{secret.ErrKeyState, http.StatusConflict, sdk.CodeKeyState, ""},
	{secret.ErrInvalidPath, http.StatusBadRequest, sdk.CodeInvalid, ""},
	{secret.ErrInvalidValue, http.StatusRequestEntityTooLarge, sdk.CodeTooLarge, ""},
	{secret.ErrInvalid, http.StatusBadRequest, sdk.CodeInvalid, ""},
	{secret.ErrTampered, http.StatusInternalServerError, sdk.CodeIntegrityFailed, "the stored secret fails its integrity check and is not served; tell an administrator"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, sdk.CodeUnavailable, "the request took too long; a write may have taken effect all the same; try again"},
	{context.Canceled, http.StatusServiceUnavailable, sdk.CodeUnavailable, "the request was given up"},
	{secret.ErrUnavailable, http.StatusServiceUnavailable, sdk.CodeUnavailable, "the vault's database is not available; a write may have taken effect all the same; try again"},
}

// problemOf is what the client sees of an error of the engine. asked says what was
// asked, such as "read production/a".
func problemOf(asked string, err error) *Problem {
	for _, answer := range answers {
		if !errors.Is(err, answer.err) {
			continue
		}
		detail := answer.detail
		switch {
		case detail == "":
			detail = err.Error()
		case asked != "":
			detail = asked + ": " + detail
		}
		p := newProblem(answer.status, detail)
		p.Code = answer.code
		return p
	}
	return newProblem(http.StatusInternalServerError, "an internal error; the server's log says more under this request's X-Request-Id")
}

// newProblem is a problem whose code follows from its status.
func newProblem(status int, detail string) *Problem {
	return &Problem{sdk.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: codeOf(status), Detail: detail,
	}}
}

func codeOf(status int) sdk.Code {
	switch {
	case status == http.StatusUnauthorized:
		return sdk.CodeUnauthenticated
	case status == http.StatusConflict:
		return sdk.CodeConflict
	case status == http.StatusRequestEntityTooLarge:
		return sdk.CodeTooLarge
	case status == http.StatusTooManyRequests:
		return sdk.CodeRateLimited
	case status == http.StatusServiceUnavailable, status == http.StatusRequestTimeout:
		return sdk.CodeUnavailable
	case status >= http.StatusInternalServerError:
		return sdk.CodeInternal
	default:
		return sdk.CodeInvalid
	}
}

// installProblems makes huma report what it finds wrong as a Problem. Huma has one
// hook for the whole process.
var installProblems = sync.OnceFunc(func() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		p := newProblem(status, message)
		for _, err := range errs {
			if err != nil {
				p.Errors = append(p.Errors, fieldProblem(err))
			}
		}
		return p
	}
})

// fieldProblem drops the value that huma would echo, and the words of decoders, which
// quote what they cannot decode.
func fieldProblem(err error) sdk.FieldProblem {
	detailer, ok := err.(huma.ErrorDetailer)
	if !ok {
		return sdk.FieldProblem{Location: "request", Message: "cannot be read"}
	}
	detail := detailer.ErrorDetail()
	if detail.Location == "body" && !strings.HasPrefix(detail.Message, "expected ") {
		return sdk.FieldProblem{Location: "body", Message: "is not the JSON that /openapi.json describes; values are base64"}
	}
	return sdk.FieldProblem{Location: detail.Location, Message: detail.Message}
}

// writeProblem answers outside of huma.
func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}
