package coffertest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
	"github.com/coffer-vault/coffer/sdk/coffertest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// anyone takes every token for the same caller.
type anyone struct{ caller secret.Caller }

func (a anyone) Authenticate(context.Context, string) (secret.Caller, error) { return a.caller, nil }

func (anyone) Known(string) bool { return true }

func (anyone) Environment(context.Context, string) (string, error) { return "", nil }

func (anyone) ServiceAccountUID(context.Context, string, string) (string, error) { return "", nil }

// startCoffer returns a client of Coffer itself, who may do everything.
func startCoffer(t *testing.T) *sdk.Client {
	t.Helper()
	vault := vaulttest.Start(t)
	ending := make(chan struct{})
	s := httptest.NewServer(server.New(server.Config{
		Vault: vault.Engine, Authenticator: anyone{vault.Admin}, Logger: slog.New(slog.DiscardHandler), Rate: rate.Inf, Burst: 1, Ending: ending,
	}))
	t.Cleanup(func() { close(ending); s.Close() })
	client, err := sdk.New(sdk.Config{Address: s.URL, Token: "t"})
	must(t, err)
	return client
}

// step is one call, and what came of it in words that leave out times and names.
type step struct {
	name string
	do   func(context.Context, *sdk.Client) string
}

func code(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return fmt.Sprintf("%s %d", e.Code, e.Status)
	}
	return err.Error()
}

func metadata(m sdk.Metadata, err error) string {
	if err != nil {
		return code(err)
	}
	return fmt.Sprintf("%s@%d %v %q %v %d %d %v %v", m.Path, m.Version, m.Labels, m.Description, m.Tags, m.RotateAfterDays, m.MaxVersions,
		m.Access, !m.CreatedAt.IsZero())
}

func value(s sdk.Secret, err error) string {
	if err != nil {
		return code(err)
	}
	return metadata(s.Metadata, nil) + " " + string(s.Value)
}

func get(path, version string) step {
	return step{"get " + path + " " + version, func(ctx context.Context, c *sdk.Client) string { return value(c.GetLabel(ctx, path, version)) }}
}

func put(path, v string, change func(*sdk.PutRequest)) step {
	return step{"put " + path, func(ctx context.Context, c *sdk.Client) string {
		r := sdk.PutRequest{Value: []byte(v)}
		if change != nil {
			change(&r)
		}
		return metadata(c.Put(ctx, path, r))
	}}
}

func rotate(path, v string) step {
	return step{"rotate " + path, func(ctx context.Context, c *sdk.Client) string {
		return metadata(c.Rotate(ctx, path, sdk.PutRequest{Value: []byte(v)}))
	}}
}

func patch(path string, properties map[string]any) step {
	return step{"patch " + path, func(ctx context.Context, c *sdk.Client) string {
		return metadata(c.Patch(ctx, path, sdk.PatchRequest{Properties: properties}))
	}}
}

func remove(path string) step {
	return step{"delete " + path, func(ctx context.Context, c *sdk.Client) string { return code(c.Delete(ctx, path)) }}
}

func undelete(path string) step {
	return step{"undelete " + path, func(ctx context.Context, c *sdk.Client) string { return metadata(c.Undelete(ctx, path)) }}
}

func rollback(path string, r sdk.RollbackRequest) step {
	return step{"rollback " + path, func(ctx context.Context, c *sdk.Client) string { return metadata(c.Rollback(ctx, path, r)) }}
}

func promote(path string) step {
	return step{"promote " + path, func(ctx context.Context, c *sdk.Client) string {
		return metadata(c.Promote(ctx, path, sdk.PromoteRequest{}))
	}}
}

func versions(path string) step {
	return described("versions "+path, path, (*sdk.Client).Versions)
}

func deletedVersions(path string) step {
	return described("deleted versions "+path, path, (*sdk.Client).DeletedVersions)
}

func described(name, path string, ask func(*sdk.Client, context.Context, string) ([]sdk.Version, error)) step {
	return step{name, func(ctx context.Context, c *sdk.Client) string {
		found, err := ask(c, ctx, path)
		words := []string{code(err)}
		for _, v := range found {
			words = append(words, fmt.Sprintf("%d %v %s %v %v", v.Version, v.Labels, v.State, v.DeletedAt.IsZero(), v.DestroyedAt.IsZero()))
		}
		return strings.Join(words, ", ")
	}}
}

func consumers(path string) step {
	return step{"consumers " + path, func(ctx context.Context, c *sdk.Client) string {
		found, err := c.Consumers(ctx, path)
		words := []string{code(err)}
		for _, c := range found {
			words = append(words, fmt.Sprintf("%s %d %d/%d %s %v %v", c.Kind, c.Version, c.RolledOut, c.Workloads, c.State, c.Since.IsZero(), c.SeenAt.IsZero()))
		}
		return strings.Join(words, ", ")
	}}
}

func describe(path string) step {
	return step{"metadata " + path, func(ctx context.Context, c *sdk.Client) string { return metadata(c.Metadata(ctx, path)) }}
}

func update(path string, r sdk.UpdateRequest) step {
	return step{"update " + path, func(ctx context.Context, c *sdk.Client) string { return metadata(c.Update(ctx, path, r)) }}
}

func destroy(path string) step {
	return step{"destroy " + path, func(ctx context.Context, c *sdk.Client) string { return code(c.Destroy(ctx, path)) }}
}

func amend(verb, path string, numbers ...int64) step {
	return step{fmt.Sprint(verb, " versions ", numbers, " of ", path), func(ctx context.Context, c *sdk.Client) string {
		return code(map[string]func(context.Context, string, ...int64) error{
			"delete": c.DeleteVersions, "undelete": c.UndeleteVersions, "destroy": c.DestroyVersions,
		}[verb](ctx, path, numbers...))
	}}
}

func reminders(prefix string) step {
	return step{"reminders " + prefix, func(ctx context.Context, c *sdk.Client) string {
		found, err := c.Rotations(ctx, prefix)
		overdue, overdueErr := c.Overdue(ctx, prefix)
		words := []string{code(err), code(overdueErr), fmt.Sprint(len(overdue))}
		for _, r := range found {
			words = append(words, fmt.Sprintf("%s@%d %d %v %v", r.Path, r.Version, r.RotateAfterDays, r.DueAt.Sub(r.RotatedAt), r.Overdue))
		}
		return strings.Join(words, ", ")
	}}
}

func list(prefix, after string, limit int) step {
	return step{fmt.Sprintf("list %s %s %d", prefix, after, limit), func(ctx context.Context, c *sdk.Client) string {
		page, err := c.ListPage(ctx, prefix, after, limit)
		words := []string{code(err), page.Next}
		for _, m := range page.Items {
			words = append(words, metadata(m, nil))
		}
		return strings.Join(words, ", ")
	}}
}

// all are the events of everything, in the order of their paths and versions: Coffer
// promises no order.
func all(ctx context.Context, t testing.TB, c *sdk.Client, o sdk.WatchOptions, last string, during func()) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var came []string
	for event, err := range c.Watch(ctx, o) {
		must(t, err)
		if event.Kind == sdk.EventPosition && len(came) == 0 && during != nil {
			during()
			during = nil
		}
		if event.Path == last {
			slices.Sort(came)
			return came
		}
		if event.Path != "" {
			came = append(came, fmt.Sprintf("%s %s %d %v", event.Path, event.Kind, event.Version, !event.At.IsZero()))
		}
	}
	t.Fatalf("the watch ended after %q", came)
	return nil
}

// contract is what the SDK may rely on.
func contract() []step {
	long := strings.Repeat("x", 1<<20)
	key := func(key string) func(*sdk.PutRequest) {
		return func(r *sdk.PutRequest) { r.IdempotencyKey = key }
	}
	return []step{
		get("a/one", ""), get("a/one", "1"), get("a/one", "previous"), describe("a/one"), versions("a/one"), consumers("a/one"), consumers("A"),
		get("", ""), get("A", ""), get("a//b", ""), get("a/../b", ""), get("/a", ""), get(strings.Repeat("a/", 16)+"a", ""), get(strings.Repeat("a", 513), ""),
		rotate("a/one", "x"), remove("a/one"), undelete("a/one"), promote("a/one"), rollback("a/one", sdk.RollbackRequest{}), patch("a/one", map[string]any{"a": "b"}),
		put("a/one", "first", nil), consumers("a/one"), get("a/one", ""), consumers("a/one"), get("a/one", "current"), get("a/one", "previous"), get("a/one", "pending"), get("a/one", "7"), get("a/one", "-1"), get("a/one", "0"), get("a/one", "-0"), get("a/one", "00"), get("a/one", "newest"),
		put("a/one", "", nil), get("a/one", ""), versions("a/one"),
		put("a/one", "second", func(r *sdk.PutRequest) {
			r.Description, r.Tags, r.RotateAfterDays = new("what for"), map[string]string{"team": "a"}, new(30)
			r.Access = &sdk.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"*"}}
		}),
		rotate("a/one", "third"), describe("a/one"), versions("a/one"), get("a/one", "1"), get("a/one", "previous"), consumers("a/one"), get("a/one", "1"), consumers("a/one"),
		put("a/one", "x", func(r *sdk.PutRequest) { r.ExpectedVersion = new(int64(2)) }), put("a/one", "fifth", func(r *sdk.PutRequest) { r.ExpectedVersion = new(int64(4)) }),
		put("a/one", "x", func(r *sdk.PutRequest) { r.ExpectedVersion = new(int64(0)) }), put("a/new", "x", func(r *sdk.PutRequest) { r.ExpectedVersion = new(int64(1)) }),
		put("a/new", "x", func(r *sdk.PutRequest) { r.ExpectedVersion = new(int64(0)) }), put("a/late", "x", func(r *sdk.PutRequest) { r.Pending = true }),
		put("a/one", "sixth", func(r *sdk.PutRequest) { r.Pending = true }), get("a/one", ""), get("a/one", "pending"), versions("a/one"),
		put("a/one", "seventh", nil), versions("a/one"), promote("a/one"), promote("a/one"), get("a/one", ""), versions("a/one"),
		rollback("a/one", sdk.RollbackRequest{}), rollback("a/one", sdk.RollbackRequest{}), rollback("a/one", sdk.RollbackRequest{Version: 1}),
		rollback("a/one", sdk.RollbackRequest{Version: 1}), rollback("a/one", sdk.RollbackRequest{Version: 99}), rollback("a/one", sdk.RollbackRequest{Version: 3, ExpectedVersion: new(int64(2))}), get("a/one", ""),
		put("a/one", "k", key("k1")), put("a/one", "k", key("k1")), put("a/one", "other", key("k1")), put("a/new", "k", key("k1")), versions("a/one"),
		patch("a/one", map[string]any{"a": "b"}), put("a/json", `{"a":1.50,"b":{"c":true,"d":[null]},"e":"<"}`, nil), patch("a/json", map[string]any{"a": nil, "b": map[string]any{"c": nil, "f": "g"}, "h": map[string]any{"i": nil}}),
		get("a/json", ""), patch("a/json", map[string]any{"e": 7}), get("a/json", ""), versions("a/json"),
		put("a/few", "1", func(r *sdk.PutRequest) { r.MaxVersions = new(2) }), put("a/few", "2", nil), put("a/few", "3", nil), put("a/few", "4", nil), versions("a/few"), get("a/few", "1"), rollback("a/few", sdk.RollbackRequest{Version: 1}),
		put("b", "large", nil), put("b", long, nil), put("b", long+"x", nil), describe("b"),
		list("", "", 0), list("a", "", 0), list("a/", "a/few", 2), list("a/o", "", 0), list("A", "", 0), list("", "B", 0), list("", "", 2), list("", "", 1001),
		remove("a/one"), remove("a/one"), consumers("a/one"), get("a/one", ""), get("a/one", "1"), versions("a/one"), deletedVersions("a/one"), deletedVersions("a/none"), rotate("a/one", "x"), list("a", "", 0), undelete("a/one"), deletedVersions("a/one"), undelete("a/one"), get("a/one", ""), versions("a/one"),
		remove("a/one"), put("a/one", "anew", nil), get("a/one", "1"), get("a/one", "previous"), versions("a/one"), describe("a/one"),
		update("a/none", sdk.UpdateRequest{Description: new("x")}), update("A", sdk.UpdateRequest{Description: new("x")}), update("a/json", sdk.UpdateRequest{}), update("a/none", sdk.UpdateRequest{}),
		update("a/json", sdk.UpdateRequest{Description: new("for json"), RotateAfterDays: new(7), MaxVersions: new(9)}), update("a/json", sdk.UpdateRequest{Description: new("for json")}),
		update("a/json", sdk.UpdateRequest{Tags: map[string]string{}}), update("a/json", sdk.UpdateRequest{Tags: map[string]string{"team": "b"}, ExpectedVersion: new(int64(1))}),
		update("a/json", sdk.UpdateRequest{Tags: map[string]string{"team": "b"}, ExpectedVersion: new(int64(3))}), update("a/json", sdk.UpdateRequest{Tags: map[string]string{}}),
		update("a/json", sdk.UpdateRequest{Access: &sdk.AccessPolicy{AllowedServices: []string{"a/b"}, AllowedEnvironments: []string{"*"}}}), describe("a/json"),
		reminders(""), reminders("a/j"), reminders("a/json"), reminders("A"),
		amend("delete", "a/json", 1, 2), amend("delete", "a/json", 1), amend("delete", "a/json", 1, 3), amend("delete", "a/json", 99), amend("delete", "a/json"), amend("delete", "a/json", 0), amend("delete", "a/none", 1), amend("delete", "a/none", 0),
		versions("a/json"), get("a/json", "1"), get("a/json", "previous"), rollback("a/json", sdk.RollbackRequest{}), amend("undelete", "a/json", 2, 2, 3), get("a/json", "2"), versions("a/json"),
		amend("destroy", "a/json", 1, 2), amend("destroy", "a/json", 1), amend("destroy", "a/json", 3), amend("undelete", "a/json", 1), amend("delete", "a/json", 1), versions("a/json"), get("a/json", "previous"),
		destroy("a/none"), destroy("A"), destroy("a/json"), destroy("a/json"), get("a/json", ""), versions("a/json"), deletedVersions("a/json"), undelete("a/json"), amend("undelete", "a/json", 1), list("a/", "", 0),
		put("a/json", "anew", nil), versions("a/json"), get("a/json", "1"), describe("a/json"), remove("a/json"), destroy("a/json"), deletedVersions("a/json"), undelete("a/json"),
	}
}

// TestContract: the test server answers each call as Coffer does, and tells the same
// changes.
func TestContract(t *testing.T) {
	coffer, double := startCoffer(t), coffertest.NewServer(t).Client(t)
	run := func(c *sdk.Client) (said, events, again []string) {
		var position string
		for event, err := range c.Watch(t.Context(), sdk.WatchOptions{}) {
			must(t, err)
			position = event.Position
			break
		}
		events = all(t.Context(), t, c, sdk.WatchOptions{Prefix: "a", Paths: []string{"b", "end"}}, "end", func() {
			for _, step := range contract() {
				said = append(said, step.do(t.Context(), c))
			}
			put("end", "x", nil).do(t.Context(), c)
		})
		return said, events, all(t.Context(), t, c, sdk.WatchOptions{After: position, Paths: []string{"a/one", "end"}}, "end", nil)
	}
	want, wantEvents, wantAgain := run(coffer)
	got, gotEvents, gotAgain := run(double)
	for i, step := range contract() {
		if got[i] != want[i] {
			t.Errorf("call %d, %s:\nthe test server says %.300s\nCoffer says          %.300s", i, step.name, got[i], want[i])
		}
	}
	if !slices.Equal(gotEvents, wantEvents) || len(wantEvents) < 20 {
		t.Errorf("the test server tells\n%q\nCoffer tells\n%q", gotEvents, wantEvents)
	}
	if !slices.Equal(gotAgain, wantAgain) || len(wantAgain) < 10 {
		t.Errorf("after a position the test server tells\n%q\nCoffer tells\n%q", gotAgain, wantAgain)
	}
}

// TestContractOfAnySequence of calls.
func TestContractOfAnySequence(t *testing.T) {
	coffer, double := startCoffer(t), coffertest.NewServer(t).Client(t)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		path := rapid.SampledFrom([]string{fmt.Sprintf("r%d/a", round), fmt.Sprintf("r%d/b", round)})
		which := rapid.SampledFrom([]string{"", "current", "previous", "pending", "1", "2", "3", "4"})
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			p := path.Draw(t, "path")
			switch rapid.IntRange(0, 12).Draw(t, "call") {
			case 0, 1:
				pending, bounded, most := rapid.Bool().Draw(t, "pending"), rapid.Bool().Draw(t, "bounded"), rapid.IntRange(0, 3).Draw(t, "versions")
				return put(p, rapid.SampledFrom([]string{"x", `{"a":"b"}`}).Draw(t, "value"), func(r *sdk.PutRequest) {
					if r.Pending = pending; bounded {
						r.MaxVersions = &most
					}
				})
			case 2:
				return rotate(p, "y")
			case 3:
				return remove(p)
			case 4:
				return undelete(p)
			case 5:
				return promote(p)
			case 6:
				return rollback(p, sdk.RollbackRequest{Version: rapid.Int64Range(0, 4).Draw(t, "to")})
			case 7:
				return patch(p, map[string]any{"a": rapid.SampledFrom([]any{nil, "c"}).Draw(t, "a")})
			case 8:
				return versions(p)
			case 9:
				return amend(rapid.SampledFrom([]string{"delete", "undelete", "destroy"}).Draw(t, "verb"), p, rapid.SliceOfN(rapid.Int64Range(1, 4), 1, 2).Draw(t, "numbers")...)
			case 10:
				return update(p, sdk.UpdateRequest{MaxVersions: new(rapid.IntRange(0, 3).Draw(t, "versions"))})
			case 11:
				return destroy(p)
			default:
				return get(p, which.Draw(t, "version"))
			}
		}), 1, 12).Draw(t, "steps")
		for i, step := range steps {
			if want, got := step.do(context.Background(), coffer), step.do(context.Background(), double); got != want {
				t.Fatalf("call %d, %s:\nthe test server says %s\nCoffer says          %s", i, step.name, got, want)
			}
		}
	})
}
