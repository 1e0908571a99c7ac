package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

func TestTheLifeOfASecret(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	path := "production/payments/database"

	written := decode[sdk.Metadata](t, e.do(t, admin, http.MethodPut, at("/v1/secret", path), `{
		"value": "`+base64.StdEncoding.EncodeToString([]byte("first\x00"))+`",
		"description": "the database", "tags": {"team": "payments"}, "rotateAfterDays": 90,
		"access": {"allowedServices": ["payments/api"], "allowedEnvironments": ["production"]}, "expectedVersion": 0}`))
	want := sdk.Metadata{
		Path: path, Version: 1, Description: "the database", Tags: map[string]string{"team": "payments"}, RotateAfterDays: 90,
		Access: sdk.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"}},
		Labels: []string{sdk.LabelCurrent}, CreatedBy: admin.caller.String(),
	}
	ignoreTime := cmpopts.IgnoreFields(sdk.Metadata{}, "CreatedAt")
	if diff := cmp.Diff(want, written, ignoreTime); diff != "" {
		t.Errorf("put (-want +got)\n%s", diff)
	}
	want.Version = 2
	rotated := decode[sdk.Metadata](t, e.do(t, admin, http.MethodPost, at("/v1/secret/rotate", path), putBody(t, "second")))
	if diff := cmp.Diff(want, rotated, ignoreTime); diff != "" {
		t.Errorf("rotate (-want +got)\n%s", diff)
	}
	described := decode[sdk.Metadata](t, e.do(t, admin, http.MethodGet, at("/v1/secret/metadata", path), ""))
	if diff := cmp.Diff(rotated, described); diff != "" {
		t.Errorf("metadata (-want +got)\n%s", diff)
	}
	for version, value := range map[string]string{"": "second", "&version=1": "first\x00", "&version=2": "second"} {
		got := decode[sdk.Secret](t, e.do(t, admin, http.MethodGet, at("/v1/secret", path)+version, ""))
		if string(got.Value) != value {
			t.Errorf("get %q: another value", version)
		}
	}
	list := decode[sdk.SecretList](t, e.do(t, admin, http.MethodGet, "/v1/secrets?prefix=production/", ""))
	if diff := cmp.Diff(sdk.SecretList{Items: []sdk.Metadata{rotated}}, list); diff != "" {
		t.Errorf("list (-want +got)\n%s", diff)
	}
	if got := e.do(t, admin, http.MethodDelete, at("/v1/secret", path), ""); got.status != http.StatusNoContent || got.body != "" {
		t.Errorf("delete: %d %q", got.status, got.body)
	}
	if got := e.do(t, admin, http.MethodGet, at("/v1/secret", path), "").problem(t); got.Code != sdk.CodeNotFoundOrDenied {
		t.Errorf("get after delete: %s", got.Code)
	}
}

func TestListsInPages(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	for _, path := range []string{"a/1", "a/2", "a/3"} {
		e.Put(t, path, "x")
	}
	first := decode[sdk.SecretList](t, e.do(t, admin, http.MethodGet, "/v1/secrets?prefix=a&limit=2", ""))
	second := decode[sdk.SecretList](t, e.do(t, admin, http.MethodGet, "/v1/secrets?prefix=a&limit=2&after="+first.Next, ""))
	if len(first.Items) != 2 || first.Next != "a/2" || len(second.Items) != 1 || second.Next != "" {
		t.Errorf("got %+v then %+v", first, second)
	}
	newest := decode[sdk.AuditList](t, e.do(t, admin, http.MethodGet, "/v1/audit?prefix=a/&action=put&limit=2", ""))
	oldest := decode[sdk.AuditList](t, e.do(t, admin, http.MethodGet, "/v1/audit?prefix=a/&action=put&limit=2&before="+itoa(newest.Next), ""))
	if len(newest.Items) != 2 || newest.Items[0].Path != "a/3" || len(oldest.Items) != 1 || oldest.Items[0].Path != "a/1" || oldest.Next != 0 {
		t.Errorf("got %+v then %+v", newest, oldest)
	}
	empty := e.do(t, admin, http.MethodGet, "/v1/secrets?prefix=b", "")
	if empty.body != `{"items":[]}`+"\n" {
		t.Errorf("an empty list is %s", empty.body)
	}
}

func itoa(n int64) string { return json.Number(mustMarshal(n)).String() }

func mustMarshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestOverdue(t *testing.T) {
	now := time.Now()
	e := start(t, vaulttest.StartWith(t, vaulttest.Config{Clock: func() time.Time { return now }}), nil)
	admin := e.admin(t)
	e.do(t, admin, http.MethodPut, at("/v1/secret", "a/old"), `{"value":"eA==","rotateAfterDays":30}`)
	now = now.Add(33*24*time.Hour + time.Hour)
	e.do(t, admin, http.MethodPut, at("/v1/secret", "a/new"), `{"value":"eA==","rotateAfterDays":30}`)
	e.do(t, admin, http.MethodPut, at("/v1/secret", "a/without"), `{"value":"eA=="}`)
	all := decode[sdk.RotationList](t, e.do(t, admin, http.MethodGet, "/v1/rotation?prefix=a", "")).Items
	if len(all) != 2 || all[0].Path != "a/new" || all[0].Overdue || all[1].Path != "a/old" || !all[1].Overdue {
		t.Errorf("rotations %+v", all)
	}
	for _, r := range all {
		if r.Version != 1 || r.RotateAfterDays != 30 || r.DueAt.Sub(r.RotatedAt) != 30*24*time.Hour {
			t.Errorf("%+v", r)
		}
	}
	if below := decode[sdk.RotationList](t, e.do(t, admin, http.MethodGet, "/v1/rotation?prefix=b", "")); len(below.Items) != 0 {
		t.Errorf("below another prefix: %+v", below)
	}
	got := decode[sdk.OverdueList](t, e.do(t, admin, http.MethodGet, "/v1/rotation/overdue", ""))
	want := sdk.OverdueList{Items: []sdk.Overdue{{Path: "a/old", Version: 1, RotateAfterDays: 30, DaysOverdue: 3}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(sdk.Overdue{}, "RotatedAt")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A caller without rights cannot tell a path that exists from one that does not:
// neither the body nor any header but the request's own differ.
func TestDeniedEqualsMissing(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	e.admin(t)
	nobody := e.account(t, "production")
	path := "production/payments/database"
	requests := map[string]func() answer{
		"get":         func() answer { return e.do(t, nobody, http.MethodGet, at("/v1/secret", path), "") },
		"get version": func() answer { return e.do(t, nobody, http.MethodGet, at("/v1/secret", path)+"&version=7", "") },
		"put":         func() answer { return e.do(t, nobody, http.MethodPut, at("/v1/secret", path), putBody(t, "x")) },
		"compare and set": func() answer {
			return e.do(t, nobody, http.MethodPut, at("/v1/secret", path), `{"value":"eA==","expectedVersion":9}`)
		},
		"rotate":   func() answer { return e.do(t, nobody, http.MethodPost, at("/v1/secret/rotate", path), putBody(t, "x")) },
		"delete":   func() answer { return e.do(t, nobody, http.MethodDelete, at("/v1/secret", path), "") },
		"metadata": func() answer { return e.do(t, nobody, http.MethodGet, at("/v1/secret/metadata", path), "") },
		"update":   func() answer { return e.do(t, nobody, http.MethodPatch, at("/v1/secret", path), `{"description":"x"}`) },
		"patch": func() answer {
			return e.do(t, nobody, http.MethodPatch, at("/v1/secret/properties", path), `{"properties":{"a":"x"}}`)
		},
		"versions": func() answer { return e.do(t, nobody, http.MethodGet, at("/v1/secret/versions", path), "") },
		"deleted versions": func() answer {
			return e.do(t, nobody, http.MethodGet, at("/v1/secret/versions", path)+"&deleted=true", "")
		},
		"rollback": func() answer {
			return e.do(t, nobody, http.MethodPost, at("/v1/secret/rollback", path), `{"version":7}`)
		},
		"promote": func() answer {
			return e.do(t, nobody, http.MethodPost, at("/v1/secret/promote", path), `{"expectedVersion":7}`)
		},
		"undelete": func() answer { return e.do(t, nobody, http.MethodPost, at("/v1/secret/undelete", path), "") },
		"destroy":  func() answer { return e.do(t, nobody, http.MethodPost, at("/v1/secret/destroy", path), "") },
		"delete versions": func() answer {
			return e.do(t, nobody, http.MethodPost, at("/v1/secret/versions/delete", path), `{"versions":[1]}`)
		},
		"undelete versions": func() answer {
			return e.do(t, nobody, http.MethodPost, at("/v1/secret/versions/undelete", path), `{"versions":[1,9]}`)
		},
		"destroy versions": func() answer {
			return e.do(t, nobody, http.MethodPost, at("/v1/secret/versions/destroy", path), `{"versions":[1]}`)
		},
		"list":     func() answer { return e.do(t, nobody, http.MethodGet, "/v1/secrets?prefix=production", "") },
		"rotation": func() answer { return e.do(t, nobody, http.MethodGet, "/v1/rotation", "") },
		"overdue":  func() answer { return e.do(t, nobody, http.MethodGet, "/v1/rotation/overdue", "") },
		"audit":    func() answer { return e.do(t, nobody, http.MethodGet, "/v1/audit?prefix="+path, "") },
		"explain":  func() answer { return e.do(t, nobody, http.MethodGet, at("/v1/explain", path), "") },
		"explain another": func() answer {
			return e.do(t, nobody, http.MethodGet, at("/v1/explain", path)+"&namespace=a&serviceAccount=b", "")
		},
	}
	missing := map[string]answer{}
	for name, request := range requests {
		missing[name] = request()
	}
	e.PutShared(t, path, "value", &secret.AccessPolicy{AllowedServices: []string{"other/api"}, AllowedEnvironments: []string{"*"}})
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			got := request()
			if diff := cmp.Diff(missing[name], got, cmp.AllowUnexported(answer{}), ignoreOwnHeaders); diff != "" {
				t.Errorf("(-missing +denied)\n%s", diff)
			}
			if name == "get" && (got.status != http.StatusNotFound || got.problem(t).Code != sdk.CodeNotFoundOrDenied) {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
}

var ignoreOwnHeaders = cmpopts.IgnoreMapEntries(func(name string, _ []string) bool {
	return name == "X-Request-Id" || name == "Date"
})

func TestProblems(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin, reader := e.admin(t), e.admin(t, policy.Read)
	e.Put(t, "a/b", "x")
	large := putBody(t, strings.Repeat("x", secret.MaxValueBytes+1))
	huge := `{"value":"` + strings.Repeat("A", 2<<20) + `"}`
	tests := map[string]struct {
		account              account
		method, target, body string
		status               int
		code                 sdk.Code
	}{
		"no token":               {account{}, "GET", at("/v1/secret", "a/b"), "", 401, sdk.CodeUnauthenticated},
		"bad token, bad body":    {account{token: "x"}, "PUT", at("/v1/secret", "a/b"), "{", 401, sdk.CodeUnauthenticated},
		"missing path":           {admin, "GET", at("/v1/secret", "a/c"), "", 404, sdk.CodeNotFoundOrDenied},
		"may read, not write":    {reader, "PUT", at("/v1/secret", "a/b"), putBody(t, "y"), 404, sdk.CodeNotFoundOrDenied},
		"may read, not audit":    {reader, "GET", "/v1/audit?prefix=a/b", "", 404, sdk.CodeNotFoundOrDenied},
		"no such version":        {admin, "GET", at("/v1/secret", "a/b") + "&version=9", "", 404, sdk.CodeVersionNotFound},
		"compare and set":        {admin, "PUT", at("/v1/secret", "a/b"), `{"value":"eA==","expectedVersion":3}`, 409, sdk.CodeConflict},
		"no path":                {admin, "GET", "/v1/secret", "", 422, sdk.CodeInvalid},
		"dot segment":            {admin, "GET", at("/v1/secret", "a/../b"), "", 400, sdk.CodeInvalid},
		"double slash":           {admin, "GET", at("/v1/secret", "a//b"), "", 400, sdk.CodeInvalid},
		"upper case":             {admin, "GET", at("/v1/secret", "A/b"), "", 400, sdk.CodeInvalid},
		"encoded twice":          {admin, "GET", "/v1/secret?path=a%252fb", "", 400, sdk.CodeInvalid},
		"zero byte":              {admin, "GET", "/v1/secret?path=a%00b", "", 400, sdk.CodeInvalid},
		"misspelt parameter":     {admin, "GET", at("/v1/secret", "a/b") + "&vesion=1", "", 422, sdk.CodeInvalid},
		"version not a number":   {admin, "GET", at("/v1/secret", "a/b") + "&version=one", "", 422, sdk.CodeInvalid},
		"version below zero":     {admin, "GET", at("/v1/secret", "a/b") + "&version=-1", "", 422, sdk.CodeInvalid},
		"version zero":           {admin, "GET", at("/v1/secret", "a/b") + "&version=0", "", 422, sdk.CodeInvalid},
		"version minus zero":     {admin, "GET", at("/v1/secret", "a/b") + "&version=-0", "", 422, sdk.CodeInvalid},
		"version 00":             {admin, "GET", at("/v1/secret", "a/b") + "&version=00", "", 422, sdk.CodeInvalid},
		"no previous version":    {admin, "GET", at("/v1/secret", "a/b") + "&version=previous", "", 404, sdk.CodeVersionNotFound},
		"roll back to nothing":   {admin, "POST", at("/v1/secret/rollback", "a/b"), "{}", 404, sdk.CodeVersionNotFound},
		"roll back to zero":      {admin, "POST", at("/v1/secret/rollback", "a/b"), `{"version":0}`, 422, sdk.CodeInvalid},
		"delete the current":     {admin, "POST", at("/v1/secret/versions/delete", "a/b"), `{"versions":[1]}`, 409, sdk.CodeConflict},
		"delete no versions":     {admin, "POST", at("/v1/secret/versions/delete", "a/b"), `{"versions":[]}`, 422, sdk.CodeInvalid},
		"may read, not destroy":  {reader, "POST", at("/v1/secret/destroy", "a/b"), "", 404, sdk.CodeNotFoundOrDenied},
		"update nothing":         {admin, "PATCH", at("/v1/secret", "a/b"), "{}", 400, sdk.CodeInvalid},
		"update another version": {admin, "PATCH", at("/v1/secret", "a/b"), `{"tags":{},"expectedVersion":3}`, 409, sdk.CodeConflict},
		"may read, not update":   {reader, "PATCH", at("/v1/secret", "a/b"), `{"tags":{}}`, 404, sdk.CodeNotFoundOrDenied},
		"limit out of range":     {admin, "GET", "/v1/secrets?limit=100000", "", 422, sdk.CodeInvalid},
		"unknown decision":       {admin, "GET", "/v1/audit?decision=perhaps", "", 422, sdk.CodeInvalid},
		"no body":                {admin, "PUT", at("/v1/secret", "a/b"), "", 400, sdk.CodeInvalid},
		"no value":               {admin, "PUT", at("/v1/secret", "a/b"), "{}", 422, sdk.CodeInvalid},
		"not JSON":               {admin, "PUT", at("/v1/secret", "a/b"), "{", 400, sdk.CodeInvalid},
		"tag without name":       {admin, "PUT", at("/v1/secret", "a/b"), `{"value":"eA==","tags":{"":"x"}}`, 400, sdk.CodeInvalid},
		"value too large":        {admin, "PUT", at("/v1/secret", "a/b"), large, 413, sdk.CodeTooLarge},
		"body too large":         {admin, "PUT", at("/v1/secret", "a/b"), huge, 413, sdk.CodeTooLarge},
		"half an account":        {admin, "GET", at("/v1/explain", "a/b") + "&namespace=x", "", 400, sdk.CodeInvalid},
		"a uid of nobody":        {admin, "GET", at("/v1/explain", "a/b") + "&uid=x", "", 400, sdk.CodeInvalid},
		"account and user":       {admin, "GET", at("/v1/explain", "a/b") + "&namespace=x&serviceAccount=y&user=z", "", 400, sdk.CodeInvalid},
		"unknown capability":     {admin, "GET", at("/v1/explain", "a/b") + "&capability=fly", "", 422, sdk.CodeInvalid},
		"no such route":          {admin, "GET", "/v2/secret", "", 404, sdk.CodeInvalid},
		"method without a route": {admin, "POST", at("/v1/secret", "a/b"), "", 404, sdk.CodeInvalid},
		"path in the URL":        {admin, "GET", "/v1/secret/a/b", "", 404, sdk.CodeInvalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := e.do(t, test.account, test.method, test.target, test.body)
			p := got.problem(t)
			if got.status != test.status || p.Code != test.code {
				t.Errorf("got %d %s (%s), want %d %s", got.status, p.Code, p.Detail, test.status, test.code)
			}
			if p.Detail == "" || p.Title == "" {
				t.Errorf("the problem says nothing: %s", got.body)
			}
		})
	}
}

func TestTheLargestValue(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	value := strings.Repeat("\xff", secret.MaxValueBytes)
	decode[sdk.Metadata](t, e.do(t, admin, http.MethodPut, at("/v1/secret", "a/b"), putBody(t, value)))
	if got := decode[sdk.Secret](t, e.do(t, admin, http.MethodGet, at("/v1/secret", "a/b"), "")); string(got.Value) != value {
		t.Error("another value came back")
	}
}

// Whatever is wrong with a body, nothing of it stands in the answer or in the log.
func TestBodiesAreNotRepeated(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	const canary = "correct-horse-battery"
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	tests := map[string]string{
		"plain text for base64": `{"value":"` + canary + `!"}`,
		"an object for a value": `{"value":{"password":"` + canary + `"}}`,
		"a number for a tag":    `{"value":"` + encoded + `","tags":{"a":7}}`,
		"another field":         `{"value":"` + encoded + `","extra":"` + canary + `"}`,
		"not JSON":              canary,
		"cut off":               `{"value":"` + encoded,
		"negative days":         `{"value":"` + encoded + `","rotateAfterDays":-1}`,
		"text for days":         `{"value":"` + encoded + `","rotateAfterDays":"` + canary + `"}`,
		"twice":                 `{"value":"` + encoded + `"}{"value":"` + encoded + `"}`,
		"good":                  `{"value":"` + encoded + `"}`,
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			got := e.do(t, admin, http.MethodPut, at("/v1/secret", "a/b"), body)
			if (got.status == http.StatusOK) != (name == "good") {
				t.Errorf("status %d", got.status)
			}
			if strings.Contains(got.body, canary) || strings.Contains(got.body, encoded) {
				t.Error("the answer repeats the value")
			}
		})
	}
	e.do(t, admin, http.MethodGet, at("/v1/secret", "a/b"), "")
	for _, form := range []string{canary, encoded, admin.token} {
		if strings.Contains(e.log.String(), form) {
			t.Error("the log holds the value or the token")
		}
	}
	if !strings.Contains(e.log.String(), `"route":"PUT /v1/secret"`) {
		t.Error("the log does not tell of the requests: nothing was searched")
	}
}

// panicking is a vault whose reads panic with something secret.
type panicking struct{ server.Vault }

func (panicking) Read(context.Context, secret.Caller, secret.Ref) (secret.Secret, error) {
	panic("correct-horse-battery")
}

func TestPanicsTellNothing(t *testing.T) {
	e := start(t, vaulttest.Start(t), func(c *server.Config) { c.Vault = panicking{c.Vault} })
	got := e.do(t, e.admin(t), http.MethodGet, at("/v1/secret", "a/b"), "")
	if p := got.problem(t); got.status != http.StatusInternalServerError || p.Code != sdk.CodeInternal {
		t.Errorf("got %d %s", got.status, got.body)
	}
	log := e.log.String()
	if strings.Contains(got.body+log, "correct-horse") {
		t.Error("what was thrown came out")
	}
	if !strings.Contains(log, "a handler panicked") || !strings.Contains(log, `"status":500`) {
		t.Errorf("the log does not tell of the panic:\n%s", log)
	}
}

func TestRequestID(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	e.Put(t, "a/b", "x")
	tests := map[string]struct {
		given string
		kept  bool
	}{
		"kept":       {"build-42.a_b", true},
		"none":       {"", false},
		"a space":    {"a b", false},
		"characters": {`"},{"`, false},
		"too long":   {strings.Repeat("a", 65), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+at("/v1/secret", "a/b"), nil)
			must(t, err)
			request.Header.Set("Authorization", "Bearer "+admin.token)
			request.Header.Set("X-Request-Id", test.given)
			response, err := http.DefaultClient.Do(request)
			must(t, err)
			_ = response.Body.Close()
			id := response.Header.Get("X-Request-Id")
			if id == "" || (id == test.given) != test.kept {
				t.Fatalf("gave %q, got %q", test.given, id)
			}
			entries := decode[sdk.AuditList](t, e.do(t, admin, http.MethodGet, "/v1/audit?action=read&limit=1", ""))
			if got := entries.Items[0]; got.RequestID != id || got.Address != "127.0.0.1" || got.CallerUID != admin.caller.UID {
				t.Errorf("audited %+v", got)
			}
		})
	}
}

func TestRateLimitIsPerCaller(t *testing.T) {
	e := start(t, vaulttest.Start(t), func(c *server.Config) { c.Rate, c.Burst = 0.001, 2 })
	busy, calm := e.admin(t), e.admin(t)
	var last answer
	for range 3 {
		last = e.do(t, busy, http.MethodGet, "/v1/whoami", "")
	}
	if last.status != http.StatusTooManyRequests || last.problem(t).Code != sdk.CodeRateLimited || last.header.Get("Retry-After") == "" {
		t.Errorf("the third request: %d %s", last.status, last.body)
	}
	if got := e.do(t, calm, http.MethodGet, "/v1/whoami", ""); got.status != http.StatusOK {
		t.Errorf("another caller: %d", got.status)
	}
}

func TestWhoami(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	a := e.account(t, "production")
	got := decode[sdk.Identity](t, e.do(t, a, http.MethodGet, "/v1/whoami", ""))
	want := sdk.Identity{
		Kind: "ServiceAccount", Cluster: clusterName, Namespace: a.caller.Namespace, Name: "api", UID: a.caller.UID, Environment: "production",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestExplain(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin, api := e.admin(t), e.account(t, "production")
	e.PutShared(t, "a/b", "x", &secret.AccessPolicy{
		AllowedServices: []string{api.caller.Namespace + "/api"}, AllowedEnvironments: []string{"production"},
	})
	about := at("/v1/explain", "a/b") + "&namespace=" + api.caller.Namespace + "&serviceAccount=api"
	allowed := sdk.Explanation{
		Path: "a/b", Capability: "read", Subject: api.caller.String(), UID: api.caller.UID, Environment: "production", Allowed: true,
		Rule:    policy.AccessRule,
		Matched: []sdk.RuleMatch{{Rule: policy.AccessRule, Effect: "Allow", Subject: "serviceaccount " + api.caller.Namespace + "/api", Outcome: "applied", Environments: []string{"production"}}},
	}
	elsewhere := allowed
	elsewhere.Environment, elsewhere.Allowed, elsewhere.Rule = "staging", false, ""
	elsewhere.Matched = []sdk.RuleMatch{{Rule: policy.AccessRule, Effect: "Allow", Subject: "serviceaccount " + api.caller.Namespace + "/api", Outcome: "other-environment", Environments: []string{"production"}}}
	namesake := allowed
	namesake.UID = "supposed"
	tests := map[string]struct {
		account account
		target  string
		want    sdk.Explanation
	}{
		"another, by a UID to suppose":            {admin, about + "&uid=supposed", namesake},
		"another, in its namespace's environment": {admin, about, allowed},
		"another, elsewhere":                      {admin, about + "&environment=staging", elsewhere},
		"oneself":                                 {api, at("/v1/explain", "a/b"), allowed},
		"oneself pretending to be elsewhere":      {api, about + "&environment=production", allowed},
		"a user": {admin, at("/v1/explain", "a/b") + "&user=alice&group=sre", sdk.Explanation{
			Path: "a/b", Capability: "read", Subject: "user:alice", Matched: []sdk.RuleMatch{},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := decode[sdk.Explanation](t, e.do(t, test.account, http.MethodGet, test.target, ""))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// asked counts what the API server is asked about accounts.
type asked struct {
	server.Authenticator
	accounts atomic.Int64
}

func (a *asked) ServiceAccountUID(ctx context.Context, namespace, name string) (string, error) {
	a.accounts.Add(1)
	return a.Authenticator.ServiceAccountUID(ctx, namespace, name)
}

// TestExplainAsksNobodyForWhoMayNotAsk: the API server is asked about an account only for
// a caller who may audit the path.
func TestExplainAsksNobodyForWhoMayNotAsk(t *testing.T) {
	authenticator := &asked{}
	e := start(t, vaulttest.Start(t), func(c *server.Config) {
		authenticator.Authenticator = c.Authenticator
		c.Authenticator = authenticator
	})
	admin, api := e.admin(t), e.account(t, "production")
	about := at("/v1/explain", "a/b") + "&namespace=" + admin.caller.Namespace + "&serviceAccount=api"
	if got := e.do(t, api, http.MethodGet, about, ""); got.status != http.StatusNotFound {
		t.Errorf("who may not ask was answered %d: %s", got.status, got.body)
	}
	if n := authenticator.accounts.Load(); n != 0 {
		t.Errorf("for who may not ask, the API server was asked %d times", n)
	}
	got := decode[sdk.Explanation](t, e.do(t, admin, http.MethodGet, about, ""))
	if n := authenticator.accounts.Load(); n != 1 || got.UID != admin.caller.UID {
		t.Errorf("for an auditor, the API server was asked %d times, and the UID is %q; want %q", n, got.UID, admin.caller.UID)
	}
}

func TestWithoutPostgres(t *testing.T) {
	postgres := testkit.PostgresServer(t)
	dsn, err := postgres.CreateDatabase(t.Context(), "vault")
	must(t, err)
	e := start(t, vaulttest.StartWith(t, vaulttest.Config{DSN: dsn}), nil)
	admin := e.admin(t)
	e.Put(t, "a/b", "x")
	if got := e.do(t, account{}, http.MethodGet, "/readyz", ""); got.status != http.StatusOK {
		t.Fatalf("ready: %d", got.status)
	}
	must(t, postgres.Stop(t.Context()))
	// An answer about readiness is given again for a second.
	must(t, wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		return e.do(t, account{}, http.MethodGet, "/readyz", "").status == http.StatusServiceUnavailable, nil
	}))
	for _, target := range []string{"/readyz", at("/v1/secret", "a/b"), "/v1/secrets", "/v1/audit"} {
		got := e.do(t, admin, http.MethodGet, target, "")
		if got.status != http.StatusServiceUnavailable || got.problem(t).Code != sdk.CodeUnavailable {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	if got := e.do(t, account{}, http.MethodGet, "/livez", ""); got.status != http.StatusOK {
		t.Errorf("live: %d", got.status)
	}
}

func TestMetricsAndHeaders(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	admin := e.admin(t)
	got := e.do(t, admin, http.MethodGet, at("/v1/secret", "a/b"), "")
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got.header)
	}
	e.do(t, admin, http.MethodGet, "/etc/passwd", "")
	want := strings.NewReader(`# HELP coffer_api_requests_total Requests to the API.
# TYPE coffer_api_requests_total counter
coffer_api_requests_total{route="/",status="404"} 1
coffer_api_requests_total{route="GET /v1/secret",status="404"} 1
`)
	if err := testutil.GatherAndCompare(e.metrics, want, "coffer_api_requests_total"); err != nil {
		t.Error(err)
	}
}
