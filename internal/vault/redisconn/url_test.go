package redisconn

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/address"
)

func TestParse(t *testing.T) {
	type result struct {
		Mode           mode
		Addrs          []string
		User, Password string
		DB             int
		Master         string
		Sentinel       string
		TLS            bool
	}
	tests := map[string]result{
		"redis://u:p@h:1/3":                           {Addrs: []string{"h:1"}, User: "u", Password: "p", DB: 3},
		"rediss://h":                                  {Addrs: []string{"h:6379"}, TLS: true},
		"redis+sentinel://:p@a,b:2,[::1]:3/m":         {Mode: sentinel, Addrs: []string{"a:26379", "b:2", "[::1]:3"}, Password: "p", Master: "m"},
		"rediss+sentinel://a/m/2":                     {Mode: sentinel, Addrs: []string{"a:26379"}, DB: 2, Master: "m", TLS: true},
		"redis+sentinel://a/m?sentinel_password=x%20": {Mode: sentinel, Addrs: []string{"a:26379"}, Master: "m", Sentinel: "x "},
		"redis+cluster://u:a%40b@a:1,b":               {Mode: cluster, Addrs: []string{"a:1", "b:6379"}, User: "u", Password: "a@b"},
	}
	for url, want := range tests {
		e, err := parse(address.Address{URL: url})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		o := e.options
		got := result{e.mode, o.Addrs, o.Username, o.Password, o.DB, o.MasterName, o.SentinelPassword, o.TLSConfig != nil}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", url, diff)
		}
	}
}

func TestParseRefusesAndShowsNoPassword(t *testing.T) {
	for _, url := range []string{
		"hunter2", "http://:hunter2@h", "redis://:hunter2@h:port", "redis+x://:hunter2@h", "redis+sentinel://:hunter2@h",
		"redis+sentinel://:hunter2@h:port/m", "redis+sentinel://:hunter2@a,/m", "redis+sentinel://:hunter2@h/m/x",
		"redis+sentinel://:hunter2@h/m?addr=b", "redis+cluster://:hunter2@h/0", "redis+cluster://:hunter2@",
		"redis+cluster://:%hunter2@h",
	} {
		if _, err := parse(address.Address{URL: url}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got error %v", url, err)
		}
	}
}

// FuzzParse: what is taken for an address has one, and an error shows nothing of it.
func FuzzParse(f *testing.F) {
	f.Add("redis+sentinel://:", "@a,b:2,[::1]:3/m/0?sentinel_password=x")
	f.Add("rediss+cluster://u:", "@h:1,i")
	f.Add("unix:///run/redis.sock?db=1&password=", "")
	f.Add("redis://:", "@h:port")
	f.Add("redis+sentinel://h/m?sentinel_password=", "&x=%zz")
	const canary = "canary-7f3a9c"
	f.Fuzz(func(t *testing.T, before, after string) {
		e, err := parse(address.Address{URL: before + canary + after})
		if err == nil && len(e.options.Addrs) == 0 {
			t.Error("no address")
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("the error shows it: %v", err)
		}
	})
}
