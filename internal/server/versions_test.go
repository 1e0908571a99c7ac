package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// client is an SDK client of the account.
func (e *env) client(t *testing.T, a account) *sdk.Client {
	t.Helper()
	c, err := sdk.New(sdk.Config{Address: e.url, Token: a.token})
	must(t, err)
	return c
}

// wantVersions compares the versions of path, as "NUMBER STATE LABELS".
func wantVersions(t *testing.T, c *sdk.Client, path string, want ...string) {
	t.Helper()
	found, err := c.Versions(t.Context(), path)
	must(t, err)
	var got []string
	for _, v := range found {
		got = append(got, strings.TrimSpace(strings.Join([]string{string(rune('0' + v.Version)), v.State, strings.Join(v.Labels, ",")}, " ")))
		if v.CreatedAt.IsZero() || v.CreatedBy == "" ||
			v.State == sdk.VersionDeleted && v.DeletedAt.IsZero() || v.DestroyedAt.IsZero() == (v.State == sdk.VersionDestroyed) {
			t.Errorf("version %d: %+v", v.Version, v)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("versions (-want +got)\n%s", diff)
	}
}

func wantValue(t *testing.T, want string) func(sdk.Secret, error) {
	return func(got sdk.Secret, err error) {
		t.Helper()
		if err != nil || string(got.Value) != want {
			t.Errorf("%v: another value, or %v", got, err)
		}
	}
}

func TestVersionsOverTheAPI(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	ctx, c, path := t.Context(), e.client(t, e.admin(t)), "production/payments/database"
	for _, value := range []string{"one", "two", "three"} {
		_, err := c.Put(ctx, path, sdk.PutRequest{Value: []byte(value), MaxVersions: new(5), Pending: value == "three"})
		must(t, err)
	}
	wantVersions(t, c, path, "3 live pending", "2 live current", "1 live previous")
	wantValue(t, "three")(c.GetLabel(ctx, path, sdk.LabelPending))
	wantValue(t, "one")(c.GetLabel(ctx, path, sdk.LabelPrevious))
	wantValue(t, "two")(c.GetLabel(ctx, path, sdk.LabelCurrent))

	now, err := c.Promote(ctx, path, sdk.PromoteRequest{ExpectedVersion: new(int64(2))})
	if err != nil || now.Version != 3 || now.MaxVersions != 5 || !cmp.Equal(now.Labels, []string{sdk.LabelCurrent}) {
		t.Errorf("promote: %+v, %v", now, err)
	}
	if now, err = c.Rollback(ctx, path, sdk.RollbackRequest{}); err != nil || now.Version != 2 {
		t.Errorf("rollback: %+v, %v", now, err)
	}
	if now, err = c.Rollback(ctx, path, sdk.RollbackRequest{Version: 1}); err != nil || now.Version != 1 {
		t.Errorf("rollback: %+v, %v", now, err)
	}
	if _, err := c.Rollback(ctx, path, sdk.RollbackRequest{ExpectedVersion: new(int64(3))}); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("rollback of another version: %v", err)
	}
	wantValue(t, "one")(c.Get(ctx, path))

	must(t, c.DeleteVersions(ctx, path, 2, 3))
	wantVersions(t, c, path, "3 deleted", "2 deleted previous", "1 live current")
	must(t, c.UndeleteVersions(ctx, path, 2))
	must(t, c.DestroyVersions(ctx, path, 3))
	wantVersions(t, c, path, "3 destroyed", "2 live previous", "1 live current")

	must(t, c.Delete(ctx, path))
	if gone, err := c.DeletedVersions(ctx, path); err != nil || len(gone) != 3 || !cmp.Equal(gone[2].Labels, []string{sdk.LabelCurrent}) {
		t.Errorf("versions of a deleted path: %+v, %v", gone, err)
	}
	if now, err = c.Undelete(ctx, path); err != nil || now.Version != 1 {
		t.Errorf("undelete: %+v, %v", now, err)
	}
	must(t, c.Destroy(ctx, path))
	if _, err := c.Get(ctx, path); sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
		t.Errorf("get after destroy: %v", err)
	}
}

// TestIdempotencyKeyHeader: a request with a key that was answered gets the answer.
func TestIdempotencyKeyHeader(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	ctx, c := t.Context(), e.client(t, e.admin(t))
	request := sdk.PutRequest{Value: []byte("one"), IdempotencyKey: "first"}
	for range 2 {
		if m, err := c.Put(ctx, "a/b", request); err != nil || m.Version != 1 {
			t.Errorf("%+v, %v", m, err)
		}
	}
	request.Value = []byte("other")
	if _, err := c.Put(ctx, "a/b", request); sdk.CodeOf(err) != sdk.CodeConflict || !strings.Contains(err.Error(), "idempotency key") {
		t.Errorf("the key with another request: %v", err)
	}
	request.IdempotencyKey = strings.Repeat("k", 256)
	if _, err := c.Put(ctx, "a/b", request); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("a long key: %v", err)
	}
	wantVersions(t, c, "a/b", "1 live current")
}

// TestALostAnswerWritesOnce: the SDK sends the write again with its key.
func TestALostAnswerWritesOnce(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin, lost := e.admin(t), 0
	c, err := sdk.New(sdk.Config{Address: e.url, Token: admin.token, HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		response, err := http.DefaultTransport.RoundTrip(r)
		if err == nil && r.Method != http.MethodGet && lost < 2 {
			lost++
			response.StatusCode = http.StatusGatewayTimeout
		}
		return response, err
	})}})
	must(t, err)
	if m, err := c.Put(t.Context(), "a/b", sdk.PutRequest{Value: []byte("x")}); err != nil || m.Version != 1 || lost != 2 {
		t.Errorf("%+v, %v after %d lost answers", m, err, lost)
	}
	wantVersions(t, c, "a/b", "1 live current")
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
