package server

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/time/rate"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// one accepts one token, and notes which it was asked about.
type one struct {
	everyone
	asked string
}

const goodToken = "eyJhbGciOi.eyJhdWQiOl.c2ln"

func (o *one) Authenticate(_ context.Context, token string) (secret.Caller, error) {
	if o.asked = token; token != goodToken {
		return secret.Caller{}, authn.ErrUnauthenticated
	}
	return secret.Caller{Kind: secret.KindUser, Name: "fuzz"}, nil
}

// keys notes the idempotency key that reached it, as the engine takes it.
type keys struct {
	strict
	got string
}

func (k *keys) Put(ctx context.Context, c secret.Caller, r secret.PutRequest) (secret.Metadata, error) {
	if k.got = r.IdempotencyKey; k.got != "" {
		if err := secret.CheckIdempotencyKey(k.got); err != nil {
			return secret.Metadata{}, err
		}
	}
	return k.strict.Put(ctx, c, r)
}

// FuzzHeaders sends any Authorization and Idempotency-Key. Only a bearer token gets to
// the authenticator, only the right one to the vault, and no answer and no log repeats
// either header.
func FuzzHeaders(f *testing.F) {
	for _, s := range [][2]string{
		{"Bearer " + goodToken, "5f0c1f6e-8d0a-4a53-9b0e-3a3d1c7d2f10"}, {"bearer  " + goodToken + " ", ""}, {"Bearer", "k"}, {"Basic dXNlcjpwYXNzd29yZA==", "k"},
		{goodToken, "k"}, {"Bearer " + goodToken + "x", "k"}, {"Bearer " + goodToken, strings.Repeat("k", 256)}, {"Bearer " + goodToken, "k\u00e4 and more of it"},
		{"Bearer\t" + goodToken, ""}, {"", ""},
	} {
		f.Add(s[0], s[1])
	}
	var log bytes.Buffer
	checked, token := &keys{}, &one{}
	f.Fuzz(func(t *testing.T, authorization, key string) {
		log.Reset()
		checked.t, checked.got, token.asked = t, "", ""
		// A new server each time: who sends bad tokens is refused for a while.
		handler := New(Config{Vault: checked, Authenticator: token, Logger: slog.New(slog.NewTextHandler(&log, nil)), Rate: rate.Inf})
		request := httptest.NewRequest(http.MethodPut, "/v1/secret?path=a/b", strings.NewReader(`{"value":"eA=="}`))
		request.Header.Set("Content-Type", "application/json")
		request.Header["Authorization"], request.Header["Idempotency-Key"] = []string{authorization}, []string{key}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		scheme, rest, _ := strings.Cut(authorization, " ")
		if isBearer := strings.EqualFold(scheme, "Bearer"); token.asked != "" && (!isBearer || !strings.Contains(rest, token.asked)) {
			t.Errorf("%q: the authenticator was asked about %q", authorization, token.asked)
		}
		if (recorder.Code == http.StatusUnauthorized) != (token.asked != goodToken) {
			t.Errorf("%q: status %d", authorization, recorder.Code)
		}
		switch {
		case recorder.Code == http.StatusUnauthorized, recorder.Code == http.StatusNotFound, recorder.Code == http.StatusUnprocessableEntity, recorder.Code == http.StatusBadRequest:
		default:
			t.Errorf("status %d: %s", recorder.Code, recorder.Body)
		}
		if checked.got != "" && checked.got != key {
			t.Errorf("the key %q got to the vault as %q", key, checked.got)
		}
		content := recorder.Body.Bytes()
		if !json.Valid(bytes.TrimSpace(content)) {
			t.Errorf("status %d without JSON: %q", recorder.Code, content)
		}
		for _, header := range []string{token.asked, key} {
			if len(header) > 16 && (strings.Contains(string(content), header) || strings.Contains(log.String(), header)) {
				t.Errorf("%q is repeated:\n%s\n%s", header, content, &log)
			}
		}
	})
}
