package app

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
)

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestParseConfigPrefersTheCommandLine(t *testing.T) {
	c, err := ParseConfig(
		[]string{"--root-key-file=/k", "--api-tls-san=10.0.0.1", "--api-tls-san=a.example,b.example", "--log-level=debug"},
		environment("POD_NAMESPACE", "coffer-system", "COFFER_ROOT_KEY_FILE", "/other", "COFFER_CLUSTER_NAME", "east",
			"COFFER_DATABASE_URL", "postgres://x", "COFFER_LEADER_ELECT", "false",
			"COFFER_WATCH_NAMESPACES", "payments, checkout,payments",
			"COFFER_WEBHOOK_ALLOWED_HOSTS", "rotator.payments.svc", "COFFER_WEBHOOK_ALLOWED_NETWORKS", "10.96.1.0/12, fd00::/8"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Root.KeyFile, c.ClusterName, c.DatabaseURL, c.LeaderElect, c.Namespace, []string(c.APITLSSANs), c.LogLevel, []string(c.WatchNamespaces)}
	limits := webhook.Limits{Hosts: []string{"rotator.payments.svc"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00::/8")}}
	if diff := cmp.Diff(fmt.Sprint(limits), fmt.Sprint(c.WebhookLimits)); diff != "" {
		t.Errorf("webhooks may be at (-want +got)\n%s", diff)
	}
	want := []any{"/k", "east", "postgres://x", false, "coffer-system", []string{"10.0.0.1", "a.example", "b.example"}, slog.LevelDebug, []string{"checkout", "payments"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseConfigSaysWhatToDo(t *testing.T) {
	tests := map[string]struct {
		args []string
		env  []string
		want string
	}{
		"no root key":         {nil, []string{"POD_NAMESPACE", "n"}, "set --root-key-file"},
		"two root keys":       {[]string{"--root-key-file=a", "--root-passphrase-file=b"}, []string{"POD_NAMESPACE", "n"}, "only one of"},
		"no namespace":        {[]string{"--root-key-file=a"}, nil, "POD_NAMESPACE"},
		"no cluster name":     {[]string{"--root-key-file=a", "--cluster-name="}, []string{"POD_NAMESPACE", "n"}, "--cluster-name"},
		"negative months":     {[]string{"--root-key-file=a", "--audit-retention-months=-1"}, []string{"POD_NAMESPACE", "n"}, "--audit-retention-months"},
		"short window":        {[]string{"--root-key-file=a", "--reader-window=59m"}, []string{"POD_NAMESPACE", "n"}, "give at least 1h0m0s"},
		"no such output":      {[]string{"--root-key-file=a", "--audit-log=file"}, []string{"POD_NAMESPACE", "n"}, "write stdout"},
		"no namespace's name": {[]string{"--root-key-file=a", "--watch-namespaces=a,B"}, []string{"POD_NAMESPACE", "n"}, `--watch-namespaces has "B"`},
		"no network":          {[]string{"--root-key-file=a", "--webhook-allowed-networks=10.0.0.0/8,rotator"}, []string{"POD_NAMESPACE", "n"}, `"rotator" is no network`},
		"argument":            {[]string{"--root-key-file=a", "up"}, []string{"POD_NAMESPACE", "n"}, `"up"`},
		"bad environment":     {[]string{"--root-key-file=a"}, []string{"POD_NAMESPACE", "n", "COFFER_LEADER_ELECT", "maybe"}, "COFFER_LEADER_ELECT"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfig(test.args, environment(test.env...), io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
}

func TestParseConfigHelp(t *testing.T) {
	var usage strings.Builder
	if _, err := ParseConfig([]string{"-h"}, environment(), &usage); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(usage.String(), "-root-key-file") {
		t.Errorf("usage does not list the flags:\n%s", usage.String())
	}
}
