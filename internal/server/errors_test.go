package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

func TestProblemOf(t *testing.T) {
	tests := map[string]struct {
		err    error
		status int
		code   sdk.Code
		// says is the engine's own text when the client may see it.
		says bool
	}{
		"denied":            {secret.ErrDenied, 404, sdk.CodeNotFoundOrDenied, false},
		"no version":        {secret.ErrVersionNotFound, 404, sdk.CodeVersionNotFound, true},
		"conflict":          {secret.ErrConflict, 409, sdk.CodeConflict, true},
		"invalid":           {secret.ErrInvalid, 400, sdk.CodeInvalid, true},
		"invalid path":      {secret.ErrInvalidPath, 400, sdk.CodeInvalid, true},
		"too large":         {secret.ErrInvalidValue, 413, sdk.CodeTooLarge, true},
		"tampered":          {secret.ErrTampered, 500, sdk.CodeIntegrityFailed, false},
		"unavailable":       {secret.ErrUnavailable, 503, sdk.CodeUnavailable, false},
		"took too long":     {context.DeadlineExceeded, 503, sdk.CodeUnavailable, false},
		"given up":          {context.Canceled, 503, sdk.CodeUnavailable, false},
		"anything else":     {errors.New("x"), 500, sdk.CodeInternal, false},
		"denied, then lost": {errors.Join(secret.ErrUnavailable, secret.ErrDenied), 404, sdk.CodeNotFoundOrDenied, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := problemOf("read a/b", fmt.Errorf("wrapped, with a detail: %w", test.err))
			if got.Status != test.status || got.Code != test.code {
				t.Errorf("got %d %s", got.Status, got.Code)
			}
			if strings.Contains(got.Detail, "with a detail") != test.says {
				t.Errorf("detail: %s", got.Detail)
			}
		})
	}
}
