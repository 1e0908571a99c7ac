package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// everyone accepts any token.
type everyone struct{}

func (everyone) Authenticate(context.Context, string) (secret.Caller, error) {
	return secret.Caller{Kind: secret.KindUser, Name: "fuzz"}, nil
}

func (everyone) Known(string) bool { return true }

func (everyone) Environment(context.Context, string) (string, error) { return "", nil }

func (everyone) ServiceAccountUID(context.Context, string, string) (string, error) { return "", nil }

// strict is a vault that fails the test when something reaches it that its types
// promise cannot.
type strict struct{ t *testing.T } // t is that of the request under way

func (s *strict) path(p secret.Path) error {
	if _, err := secret.ParsePath(p.String()); err != nil {
		s.t.Errorf("the path %q reached the vault", p)
	}
	return secret.ErrDenied
}

func (s *strict) Read(_ context.Context, _ secret.Caller, ref secret.Ref) (secret.Secret, error) {
	if ref.Version < 0 || ref.Version != 0 && ref.Label != "" {
		s.t.Errorf("version %d, label %q reached the vault", ref.Version, ref.Label)
	}
	return secret.Secret{}, s.path(ref.Path)
}

func (s *strict) Put(_ context.Context, _ secret.Caller, r secret.PutRequest) (secret.Metadata, error) {
	if r.Value.Len() > secret.MaxValueBytes || r.ExpectedVersion != nil && *r.ExpectedVersion < 0 {
		s.t.Error("an impossible write reached the vault")
	}
	return secret.Metadata{}, s.path(r.Path)
}

func (s *strict) Rotate(ctx context.Context, c secret.Caller, r secret.PutRequest) (secret.Metadata, error) {
	return s.Put(ctx, c, r)
}

func (s *strict) Watch(_ context.Context, _ secret.Caller, scope vault.Scope, _ changes.Position, _ vault.WatchHandler) error {
	if len(scope.Paths) > vault.MaxWatchedPaths {
		s.t.Errorf("%d paths reached the vault", len(scope.Paths))
	}
	for _, p := range scope.Paths {
		_ = s.path(p)
	}
	return secret.ErrDenied
}

func (s *strict) Patch(_ context.Context, _ secret.Caller, r secret.PatchRequest) (secret.Metadata, error) {
	if r.Patch.Len() > secret.MaxValueBytes || r.ExpectedVersion != nil && *r.ExpectedVersion < 1 || !json.Valid(r.Patch.Bytes()) {
		s.t.Error("an impossible patch reached the vault")
	}
	return secret.Metadata{}, s.path(r.Path)
}

func (s *strict) Delete(_ context.Context, _ secret.Caller, p secret.Path) error { return s.path(p) }

func (s *strict) Metadata(_ context.Context, _ secret.Caller, p secret.Path) (secret.Metadata, error) {
	return secret.Metadata{}, s.path(p)
}

func (s *strict) Update(_ context.Context, _ secret.Caller, r secret.UpdateRequest) (secret.Metadata, error) {
	if r.ExpectedVersion != nil && *r.ExpectedVersion < 1 {
		s.t.Errorf("expected version %d reached the vault", *r.ExpectedVersion)
	}
	return secret.Metadata{}, s.path(r.Path)
}

func (s *strict) Versions(_ context.Context, _ secret.Caller, p secret.Path) ([]secret.Version, error) {
	return nil, s.path(p)
}

func (s *strict) DeletedVersions(_ context.Context, _ secret.Caller, p secret.Path) ([]secret.Version, error) {
	return nil, s.path(p)
}

func (s *strict) Rollback(ctx context.Context, c secret.Caller, to secret.Ref, expected *int64) (secret.Metadata, error) {
	if to.Version < 0 {
		s.t.Errorf("version %d reached the vault", to.Version)
	}
	return s.Promote(ctx, c, to.Path, expected)
}

func (s *strict) Promote(_ context.Context, _ secret.Caller, p secret.Path, expected *int64) (secret.Metadata, error) {
	if expected != nil && *expected < 1 {
		s.t.Errorf("expected version %d reached the vault", *expected)
	}
	return secret.Metadata{}, s.path(p)
}

func (s *strict) Undelete(_ context.Context, _ secret.Caller, p secret.Path) (secret.Metadata, error) {
	return secret.Metadata{}, s.path(p)
}

func (s *strict) Destroy(_ context.Context, _ secret.Caller, p secret.Path) error { return s.path(p) }

func (s *strict) Consumers(_ context.Context, _ secret.Caller, p secret.Path) ([]secret.Consumer, error) {
	return nil, s.path(p)
}

func (s *strict) ForgetConsumers(_ context.Context, _ secret.Caller, cluster string, _ bool) (vault.ForgottenConsumers, error) {
	if cluster == "" || utf8.RuneCountInString(cluster) > 253 {
		s.t.Errorf("a cluster of %d characters reached the vault", utf8.RuneCountInString(cluster))
	}
	return vault.ForgottenConsumers{}, secret.ErrDenied
}

func (s *strict) DeleteVersions(_ context.Context, _ secret.Caller, p secret.Path, versions ...int64) error {
	if len(versions) == 0 || len(versions) > 1000 {
		s.t.Errorf("%d versions reached the vault", len(versions))
	}
	return s.path(p)
}

func (s *strict) UndeleteVersions(ctx context.Context, c secret.Caller, p secret.Path, versions ...int64) error {
	return s.DeleteVersions(ctx, c, p, versions...)
}

func (s *strict) DestroyVersions(ctx context.Context, c secret.Caller, p secret.Path, versions ...int64) error {
	return s.DeleteVersions(ctx, c, p, versions...)
}

func (s *strict) List(_ context.Context, _ secret.Caller, _ secret.Prefix, _ secret.Path, limit int) ([]secret.Metadata, error) {
	if limit < 1 || limit > 1000 {
		s.t.Errorf("limit %d reached the vault", limit)
	}
	return nil, nil
}

func (s *strict) LeakReport(_ context.Context, _ secret.Caller, q vault.LeakQuery) (vault.LeakReport, error) {
	if q.Version < 0 {
		s.t.Errorf("version %d reached the vault", q.Version)
	}
	return vault.LeakReport{}, s.path(q.Path)
}

func (s *strict) Leak(_ context.Context, _ secret.Caller, path secret.Path, version int64, _ string) (*rotation.Run, error) {
	if version < 0 {
		s.t.Errorf("version %d reached the vault", version)
	}
	return nil, s.path(path)
}

func (*strict) DefinedRotations(context.Context, secret.Caller, secret.Prefix) ([]vault.RotationStatus, error) {
	return nil, nil
}

func (s *strict) ShowRotation(_ context.Context, _ secret.Caller, path secret.Path) (vault.RotationStatus, []vault.RotationHistory, error) {
	return vault.RotationStatus{}, nil, s.path(path)
}

func (s *strict) RunRotation(_ context.Context, _ secret.Caller, path secret.Path, _ rotation.Request) (rotation.Run, error) {
	return rotation.Run{}, s.path(path)
}

func (s *strict) ApproveRotation(_ context.Context, _ secret.Caller, path secret.Path) (rotation.Run, error) {
	return rotation.Run{}, s.path(path)
}

func (s *strict) CancelRotation(_ context.Context, _ secret.Caller, path secret.Path) (rotation.Run, error) {
	return rotation.Run{}, s.path(path)
}

func (*strict) Rotations(context.Context, secret.Caller, secret.Prefix) ([]secret.Rotation, error) {
	return nil, secret.ErrDenied
}

func (*strict) Overdue(context.Context, secret.Caller, secret.Prefix) ([]secret.Overdue, error) {
	return nil, nil
}

func (s *strict) Audit(_ context.Context, _ secret.Caller, q audit.Query) ([]audit.Entry, int64, error) {
	if q.Limit < 1 || q.Limit > 1000 || q.Before < 0 {
		s.t.Errorf("query %+v reached the vault", q)
	}
	return nil, 0, nil
}

func (s *strict) ExportAudit(_ context.Context, _ secret.Caller, q audit.ExportQuery) (audit.ExportPage, error) {
	if q.Limit < 0 || q.Limit > audit.MaxExport {
		s.t.Errorf("query %+v reached the vault", q)
	}
	return audit.ExportPage{}, nil
}

func (*strict) Verification(context.Context, secret.Caller) (func(context.Context, func(rows, remaining int64) error) (audit.Report, error), error) {
	return func(context.Context, func(rows, remaining int64) error) (audit.Report, error) {
		return audit.Report{}, nil
	}, nil
}

func (s *strict) Explain(_ context.Context, _, _ secret.Caller, p secret.Path, c policy.Capability, _ func(context.Context, secret.Caller) secret.Caller) (policy.Explanation, error) {
	if _, err := policy.ParseCapability(string(c)); err != nil {
		s.t.Errorf("capability %q reached the vault", c)
	}
	return policy.Explanation{}, s.path(p)
}

func (*strict) Policies(context.Context, secret.Caller) (vault.PoliciesInForce, error) {
	return vault.PoliciesInForce{}, secret.ErrDenied
}

func (s *strict) ShowPolicy(_ context.Context, _ secret.Caller, name string) (vault.PoliciesInForce, error) {
	if name == "" || utf8.RuneCountInString(name) > 253 {
		s.t.Errorf("a name of %d characters reached the vault", utf8.RuneCountInString(name))
	}
	return vault.PoliciesInForce{}, secret.ErrDenied
}

func (*strict) KeyringStatus(context.Context, secret.Caller) (vault.KeyringStatus, error) {
	return vault.KeyringStatus{}, secret.ErrDenied
}

func (*strict) AddKey(context.Context, secret.Caller) (vault.KeyID, error) {
	return 0, secret.ErrDenied
}

func (*strict) PromoteKey(context.Context, secret.Caller, vault.KeyID) error { return secret.ErrDenied }

func (*strict) RetireKey(context.Context, secret.Caller, vault.KeyID) error { return secret.ErrDenied }

func (*strict) DestroyKey(context.Context, secret.Caller, vault.KeyID) error { return secret.ErrDenied }

func (*strict) Rewrap(context.Context, secret.Caller) (vault.RewrapProgress, error) {
	return vault.RewrapProgress{}, secret.ErrDenied
}

func (*strict) Backup(context.Context, secret.Caller, []string) (func(context.Context, io.Writer) error, error) {
	return nil, secret.ErrDenied
}

func (*strict) Ready(context.Context) error { return nil }

// FuzzRequest sends any method, URL and body. Whatever comes, the answer is JSON with
// a status that the API has, nothing panics, and nothing impossible gets to the vault.
func FuzzRequest(f *testing.F) {
	seeds := []struct{ method, target, body string }{
		{"GET", "/v1/secret?path=a/b&version=1", ""},
		{"PUT", "/v1/secret?path=a%2Fb", `{"value":"eA==","tags":{"a":"b"},"access":{"allowedServices":["a/b"],"allowedEnvironments":["*"]},"expectedVersion":0}`},
		{"POST", "/v1/secret/rotate?path=a/b", `{"value":null}`},
		{"DELETE", "/v1/secret?path=..", ""},
		{"GET", "/v1/secrets?prefix=a/&after=a/b&limit=7", ""},
		{"GET", "/v1/audit?since=2026-01-31T08:00:00Z&before=9&decision=denied", ""},
		{"GET", "/v1/explain?path=a/b&capability=read&user=x&group=a&group=b", ""},
		{"GET", "/v1/consumers?path=a/b", ""},
		{"POST", "/v1/consumers/forget", `{"cluster":"a\u0000","dryRun":true}`},
		{"GET", "/v1/leak?path=a/b&version=2&since=2026-01-31T08:00:00Z", ""},
		{"POST", "/v1/leak?path=a/b", `{"version":2,"reason":"in a log"}`},
		{"POST", "/v1/audit/export", `{"prefix":"a","caller":"x","action":"read","decision":"denied","since":"2026-01-31T08:00:00Z","anchors":true,"limit":5000,"after":"c1."}`},
		{"POST", "/v1/audit/export", `{"fromNow":true,"limit":0}`},
		{"POST", "/v1/audit/verify", ""},
		{"POST", "/v1/backup", `{"recipients":["age1x"]}`},
		{"GET", "/v1/rotations?prefix=a", ""},
		{"GET", "/v1/rotations/show?path=a/b", ""},
		{"POST", "/v1/rotations/run?path=a/b", `{"revokeOld":true}`},
		{"POST", "/v1/rotations/approve?path=a/b", ""},
		{"POST", "/v1/rotations/cancel?path=..", ""},
		{"GET", "/v1/policies", ""},
		{"GET", "/v1/policies/show?name=a%00", ""},
		{"GET", "/v1/rotation/overdue?prefix=%00", ""},
		{"GET", "/v1/rotation?prefix=a", ""},
		{"GET", "/v1/secret?path=a;b=%zz", ""},
		{"GET", "/v1/secret?path=a/b&version=previous", ""},
		{"GET", "/v1/secret?path=a/b&version=-0", ""},
		{"PUT", "/v1/secret?path=a/b", `{"value":"eA==","pending":true,"maxVersions":10000}`},
		{"PATCH", "/v1/secret?path=a/b", `{"tags":{},"access":{"allowedServices":["*"],"allowedEnvironments":[]},"maxVersions":0}`},
		{"PATCH", "/v1/secret/properties?path=a/b", `{"properties":{"a":"b","c":null,"n":1e400,"o":{"p":[null]}},"expectedVersion":1}`},
		{"PATCH", "/v1/secret/properties?path=a/b", `{"properties":[],"Properties":{"a":1}}`},
		{"GET", "/v1/secret/versions?path=a/b", ""},
		{"GET", "/v1/secret/versions?path=a/b&deleted=true", ""},
		{"POST", "/v1/secret/rollback?path=a/b", `{"version":1,"expectedVersion":2}`},
		{"POST", "/v1/secret/promote?path=a/b", `{"expectedVersion":0}`},
		{"POST", "/v1/secret/undelete?path=a/b", ""},
		{"POST", "/v1/secret/destroy?path=a/b", ""},
		{"POST", "/v1/secret/versions/delete?path=a/b", `{"versions":[1,-2,9223372036854775807]}`},
		{"POST", "/v1/secret/versions/undelete?path=a/b", `{"versions":[]}`},
		{"POST", "/v1/secret/versions/destroy?path=a/b", `{"versions":null}`},
		{"GET", "/v1/keyring", ""},
		{"POST", "/v1/keyring/keys", ""},
		{"POST", "/v1/keyring/keys/1/retire", ""},
		{"POST", "/v1/keyring/rewrap", ""},
		{"POST", "/v1/keyring/keys/4294967296/promote", ""},
		{"DELETE", "/v1/keyring/keys/-1", ""},
		{"POST", "/v1/notifications/test?sink=a", ""},
		{"GET", "/v1/watch?prefix=a/&path=a/b&path=c", ""},
		{"GET", "/v1/watch?path=..&path=", ""},
	}
	for _, s := range seeds {
		f.Add(s.method, s.target, s.body)
	}
	checked := &strict{}
	handler := New(Config{Vault: checked, Authenticator: everyone{}, Logger: slog.New(slog.DiscardHandler), Rate: rate.Inf})
	f.Fuzz(func(t *testing.T, method, target, body string) {
		checked.t = t
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
		request, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil {
			return
		}
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		switch recorder.Code {
		case 200, 204, 301, 307, 400, 404, 413, 415, 422:
		default:
			t.Errorf("%s %s: status %d: %s", method, target, recorder.Code, recorder.Body)
		}
		content := recorder.Body.Bytes()
		if method != http.MethodHead && recorder.Code >= 400 && !json.Valid(bytes.TrimSpace(content)) {
			t.Errorf("%s %s: status %d without JSON: %q", method, target, recorder.Code, content)
		}
	})
}
