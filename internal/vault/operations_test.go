package vault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

var ignoreMoment = cmpopts.IgnoreFields(secret.Metadata{}, "CreatedAt")

func TestPutKeepsWhatTheRequestLeavesOut(t *testing.T) {
	env := vaulttest.Start(t)
	ctx, path := t.Context(), vaulttest.Path(t, "production/payments/database")
	access := secret.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"}}
	full := secret.PutRequest{
		Path: path, Value: vaulttest.Value(t, "one"), Description: new("main database"), Tags: map[string]string{"team": "payments"},
		RotateAfterDays: new(90), Access: &access,
	}
	want := secret.Metadata{
		Path: path, Version: 1, Description: "main database", Tags: map[string]string{"team": "payments"},
		RotateAfterDays: 90, Access: access, Labels: []secret.Label{secret.Current}, CreatedBy: "user:admin",
	}
	got, err := env.Engine.Put(ctx, env.Admin, full)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, ignoreMoment, cmp.AllowUnexported(secret.Path{})); diff != "" {
		t.Errorf("first version (-want +got):\n%s", diff)
	}
	want.Version = 2
	env.Put(t, path.String(), "two")
	got, err = env.Engine.Metadata(ctx, env.Admin, path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, ignoreMoment, cmp.AllowUnexported(secret.Path{})); diff != "" {
		t.Errorf("second version (-want +got):\n%s", diff)
	}
	if age := time.Since(got.CreatedAt); age < 0 || age > time.Minute {
		t.Errorf("created %v ago", age)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, path.String(), 0), "two")
	wantRead(t, env.Engine, env.Admin, ref(t, path.String(), 1), "one")
}

func TestReadOfVersions(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "one")
	env.Put(t, "a/b", "")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 1), "one")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 2), "")
	for _, version := range []int64{3, 1 << 62} {
		_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", version))
		wantError(t, err, secret.ErrVersionNotFound)
	}
	_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", -1))
	wantError(t, err, secret.ErrInvalid)
	_, err = env.Engine.Read(t.Context(), env.Admin, secret.Ref{})
	wantError(t, err, secret.ErrInvalid)
}

func TestPutRefusesWhatItCannotKeep(t *testing.T) {
	env := vaulttest.Start(t)
	long := strings.Repeat("x", 5000)
	for name, change := range map[string]func(*secret.PutRequest){
		"no path":                   func(r *secret.PutRequest) { r.Path = secret.Path{} },
		"description too long":      func(r *secret.PutRequest) { r.Description = &long },
		"description with NUL":      func(r *secret.PutRequest) { r.Description = new("a\x00b") },
		"description not UTF-8":     func(r *secret.PutRequest) { r.Description = new("\xff") },
		"tag without a name":        func(r *secret.PutRequest) { r.Tags = map[string]string{"": "x"} },
		"tag with NUL":              func(r *secret.PutRequest) { r.Tags = map[string]string{"x": "\x00"} },
		"negative days":             func(r *secret.PutRequest) { r.RotateAfterDays = new(-1) },
		"negative version":          func(r *secret.PutRequest) { r.ExpectedVersion = new(int64(-1)) },
		"service without namespace": func(r *secret.PutRequest) { r.Access = &secret.AccessPolicy{AllowedServices: []string{"api"}} },
		"service in any namespace":  func(r *secret.PutRequest) { r.Access = &secret.AccessPolicy{AllowedServices: []string{"*/api"}} },
		"service by half a glob":    func(r *secret.PutRequest) { r.Access = &secret.AccessPolicy{AllowedServices: []string{"a/api*"}} },
		"empty environment":         func(r *secret.PutRequest) { r.Access = &secret.AccessPolicy{AllowedEnvironments: []string{""}} },
	} {
		t.Run(name, func(t *testing.T) {
			req := secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "x")}
			change(&req)
			_, err := env.Engine.Put(t.Context(), env.Admin, req)
			wantError(t, err, secret.ErrInvalid)
		})
	}
	_, err := env.Engine.Metadata(t.Context(), env.Admin, vaulttest.Path(t, "a/b"))
	wantError(t, err, secret.ErrDenied)
}

func TestPutTakesTheLargestValue(t *testing.T) {
	env := vaulttest.Start(t)
	large := strings.Repeat("v", secret.MaxValueBytes)
	env.Put(t, "a/b", large)
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), large)
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), large) // from the cache
}

func TestCompareAndSet(t *testing.T) {
	env := vaulttest.Start(t)
	put := func(expected int64) error {
		_, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{
			Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "x"), ExpectedVersion: &expected,
		})
		return err
	}
	wantError(t, put(1), secret.ErrConflict)
	if err := put(0); err != nil {
		t.Error(err)
	}
	wantError(t, put(0), secret.ErrConflict)
	if got := lastAudit(t, env); got.Action != audit.Put || got.Decision != audit.Failed {
		t.Errorf("audit row of a conflict: %+v", got)
	}
	if err := put(1); err != nil {
		t.Error(err)
	}
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "a/b")); err != nil {
		t.Fatal(err)
	}
	wantError(t, put(2), secret.ErrConflict)
	if err := put(0); err != nil {
		t.Error("a deleted path does not exist, so 0 is expected:", err)
	}
}

func TestRotateNeedsAPath(t *testing.T) {
	env := vaulttest.Start(t)
	req := secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "two")}
	_, err := env.Engine.Rotate(t.Context(), env.Admin, req)
	wantError(t, err, secret.ErrDenied)
	env.Put(t, "a/b", "one")
	m, err := env.Engine.Rotate(t.Context(), env.Admin, req)
	if err != nil || m.Version != 2 {
		t.Fatalf("got version %d, %v; want 2", m.Version, err)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "two")
	if err := env.Engine.Delete(t.Context(), env.Admin, req.Path); err != nil {
		t.Fatal(err)
	}
	_, err = env.Engine.Rotate(t.Context(), env.Admin, req)
	wantError(t, err, secret.ErrDenied)
}

func TestDeleteEndsAPathAndPutBeginsItAnew(t *testing.T) {
	env := vaulttest.Start(t)
	ctx, path, api := t.Context(), vaulttest.Path(t, "a/b"), vaulttest.ServiceAccount("payments", "api", "production")
	env.Sync(t, api.Cluster)
	env.PutShared(t, "a/b", "one", &secret.AccessPolicy{AllowedServices: []string{"*"}, AllowedEnvironments: []string{"*"}})
	wantRead(t, env.Engine, api, ref(t, "a/b", 0), "one")
	if err := env.Engine.Delete(ctx, env.Admin, path); err != nil {
		t.Fatal(err)
	}
	wantError(t, env.Engine.Delete(ctx, env.Admin, path), secret.ErrDenied)
	for _, version := range []int64{0, 1} {
		_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", version))
		wantError(t, err, secret.ErrDenied)
	}
	if list, err := env.Engine.List(ctx, env.Admin, secret.Prefix{}, secret.Path{}, 0); err != nil || len(list) != 0 {
		t.Errorf("a deleted path is listed: %v, %v", list, err)
	}
	if m := env.Put(t, "a/b", "two"); m.Version != 3 || len(m.Access.AllowedServices) != 0 {
		t.Errorf("put after delete: %+v; want version 3, shared with nobody", m)
	}
	_, err := read(t, env.Engine, api, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
	for _, version := range []int64{1, 2} { // the former life, and its end
		_, err = read(t, env.Engine, env.Admin, ref(t, "a/b", version))
		wantError(t, err, secret.ErrVersionNotFound)
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "two")
}

func TestCapabilitiesAreSeparate(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "one")
	path, value := vaulttest.Path(t, "a/b"), vaulttest.Value(t, "x")
	operations := map[policy.Capability]func(secret.Caller) error{
		policy.Read: func(c secret.Caller) error {
			_, err := env.Engine.Read(t.Context(), c, secret.Ref{Path: path})
			return err
		},
		policy.Write: func(c secret.Caller) error {
			_, err := env.Engine.Put(t.Context(), c, secret.PutRequest{Path: path, Value: value})
			return err
		},
		policy.Rotate: func(c secret.Caller) error {
			_, err := env.Engine.Rotate(t.Context(), c, secret.PutRequest{Path: path, Value: value})
			return err
		},
		policy.Audit: func(c secret.Caller) error {
			_, _, err := env.Engine.Audit(t.Context(), c, audit.Query{PathPrefix: "a/b"})
			return err
		},
		policy.Delete: func(c secret.Caller) error { return env.Engine.Delete(t.Context(), c, path) },
	}
	for _, holds := range []policy.Capability{policy.Read, policy.List, policy.Write, policy.Rotate, policy.Share, policy.Audit, policy.Delete} {
		caller := vaulttest.ServiceAccount("team", string(holds), "production")
		env.Allow(t, caller, "a/b", holds)
		for needs, operate := range operations {
			if err := operate(caller); (err == nil) != (needs == holds) {
				t.Errorf("who holds only %s does what needs %s: %v", holds, needs, err)
			}
		}
	}
}

func TestSharingNeedsShare(t *testing.T) {
	env := vaulttest.Start(t)
	writer := vaulttest.ServiceAccount("team", "writer", "")
	env.Allow(t, writer, "**", policy.Write)
	req := secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "x")}
	if _, err := env.Engine.Put(t.Context(), writer, req); err != nil {
		t.Error(err)
	}
	req.Access = &secret.AccessPolicy{AllowedServices: []string{"*"}, AllowedEnvironments: []string{"*"}}
	_, err := env.Engine.Put(t.Context(), writer, req)
	wantError(t, err, secret.ErrDenied)
	env.Allow(t, writer, "**", policy.Share)
	if _, err := env.Engine.Put(t.Context(), writer, req); err != nil {
		t.Error(err)
	}
}

func TestAccessPolicyOnTheSecret(t *testing.T) {
	env := vaulttest.Start(t)
	env.Sync(t, "default")
	env.PutShared(t, "production/payments/database", "v", &secret.AccessPolicy{
		AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"},
	})
	for _, c := range []struct {
		namespace, name, environment string
		want                         error
	}{
		{"payments", "api", "production", nil},
		{"payments", "api", "staging", secret.ErrDenied},
		{"payments", "api", "", secret.ErrDenied},
		{"payments", "worker", "production", secret.ErrDenied},
		{"other", "api", "production", secret.ErrDenied},
	} {
		_, err := read(t, env.Engine, vaulttest.ServiceAccount(c.namespace, c.name, c.environment), ref(t, "production/payments/database", 0))
		wantError(t, err, c.want)
	}
}

func TestSystemCallersAreDeniedAtEveryDoor(t *testing.T) {
	env := vaulttest.Start(t)
	env.PutShared(t, "a/b", "v", &secret.AccessPolicy{AllowedServices: []string{"*"}, AllowedEnvironments: []string{"*"}})
	system := secret.Caller{Kind: secret.KindSystem, Cluster: env.Admin.Cluster, Name: "admin"}
	_, err := read(t, env.Engine, system, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
	_, err = env.Engine.Put(t.Context(), system, secret.PutRequest{Path: vaulttest.Path(t, "a/b")})
	wantError(t, err, secret.ErrDenied)
	wantError(t, env.Engine.Delete(t.Context(), system, vaulttest.Path(t, "a/b")), secret.ErrDenied)
	_, _, err = env.Engine.Audit(t.Context(), system, audit.Query{})
	wantError(t, err, secret.ErrDenied)
}

func TestCheckOpensNothing(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "one")
	env.Put(t, "a/b", "two")
	env.Put(t, "a/c", "three")
	before := len(auditRows(t, env, `WHERE action <> 'anchor'`)) // which comes when it comes
	got, err := env.Engine.Check(t.Context(), env.Admin, []secret.Ref{ref(t, "a/c", 0), ref(t, "a/b", 1), ref(t, "a/b", 0)})
	if err != nil || len(got) != 3 || got[0].Version != 1 || got[1].Version != 1 || got[2].Version != 2 || got[0].Path.String() != "a/c" {
		t.Errorf("got %v, %v", got, err)
	}
	if after := len(auditRows(t, env, `WHERE action <> 'anchor'`)); after != before {
		t.Errorf("an allowed check wrote %d audit rows", after-before)
	}
	_, err = env.Engine.Check(t.Context(), env.Admin, []secret.Ref{ref(t, "a/b", 0), ref(t, "a/d", 0)})
	wantError(t, err, secret.ErrDenied)
	if !strings.Contains(err.Error(), "a/d") {
		t.Errorf("the error does not name the path: %v", err)
	}
	if got := lastAudit(t, env); got.Action != audit.Check || got.Decision != audit.Denied || got.Path != "a/d" {
		t.Errorf("audit row of a denied check: %+v", got)
	}
	_, err = env.Engine.Check(t.Context(), env.Admin, []secret.Ref{ref(t, "a/b", 9)})
	wantError(t, err, secret.ErrVersionNotFound)
	if got, err := env.Engine.Check(t.Context(), env.Admin, nil); err != nil || len(got) != 0 {
		t.Errorf("a check of nothing: %v, %v", got, err)
	}
}

func TestListShowsOnlyWhatPolicyShows(t *testing.T) {
	env := vaulttest.Start(t)
	for _, path := range []string{"a/b", "a/b/c", "a/d", "a0/x", "b/a", "a-b/x"} {
		env.Put(t, path, "v")
	}
	reader := vaulttest.ServiceAccount("team", "api", "")
	env.Allow(t, reader, "a/**", policy.List)
	for _, c := range []struct {
		name          string
		caller        secret.Caller
		prefix, after string
		limit         int
		want          []string
	}{
		{"all", env.Admin, "", "", 0, []string{"a-b/x", "a/b", "a/b/c", "a/d", "a0/x", "b/a"}},
		{"a prefix ends at a segment", env.Admin, "a", "", 0, []string{"a/b", "a/b/c", "a/d"}},
		{"a path is not below itself", env.Admin, "a/b/", "", 0, []string{"a/b/c"}},
		{"first page", env.Admin, "", "", 2, []string{"a-b/x", "a/b"}},
		{"second page", env.Admin, "", "a/b", 2, []string{"a/b/c", "a/d"}},
		{"page after the prefix", env.Admin, "a", "b/a", 0, nil},
		{"what policy shows", reader, "", "", 0, []string{"a/b", "a/b/c", "a/d"}},
		{"a page of what policy shows", reader, "", "", 1, []string{"a/b"}},
		{"nothing", vaulttest.ServiceAccount("team", "other", ""), "", "", 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			prefix, err := secret.ParsePrefix(c.prefix)
			if err != nil {
				t.Fatal(err)
			}
			var after secret.Path
			if c.after != "" {
				after = vaulttest.Path(t, c.after)
			}
			list, err := env.Engine.List(t.Context(), c.caller, prefix, after, c.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range list {
				got = append(got, m.Path.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFingerprint(t *testing.T) {
	env, other := vaulttest.Start(t), vaulttest.Start(t)
	of := env.Engine.Fingerprint
	a := of("secret", []byte("ab"), []byte("c"))
	if len(a) != 64 || a != of("secret", []byte("ab"), []byte("c")) || a != env.Open(t).Fingerprint("secret", []byte("ab"), []byte("c")) {
		t.Errorf("a fingerprint is 64 digits, the same on every replica: %s", a)
	}
	for name, b := range map[string]string{
		"another split":  of("secret", []byte("a"), []byte("bc")),
		"another domain": of("stamp", []byte("ab"), []byte("c")),
		"another vault":  other.Engine.Fingerprint("secret", []byte("ab"), []byte("c")),
	} {
		if a == b {
			t.Errorf("%s has the same fingerprint", name)
		}
	}
}
