package clustervaultsecret

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

func outcomeFor(namespace, reason string) outcome {
	return outcome{NamespaceOutcome: vaultv1alpha1.NamespaceOutcome{
		Namespace: namespace, Reason: reason, Ready: reason == vaultv1alpha1.ReasonSynced,
	}}
}

// However many namespaces there are, the status lists as many as it may, those that
// are not ready first, and counts all.
func TestStatusIsBounded(t *testing.T) {
	var outcomes []outcome
	for i := range 1000 {
		outcomes = append(outcomes, outcomeFor(fmt.Sprintf("ns-%03d", i), vaultv1alpha1.ReasonSynced))
	}
	outcomes = append(outcomes, outcomeFor("z-late", vaultv1alpha1.ReasonDenied), outcomeFor("z-early", vaultv1alpha1.ReasonDenied))
	var status vaultv1alpha1.ClusterVaultSecretStatus
	setOutcomes(&status, outcomes)
	if status.Matched != 1002 || status.Ready != 1000 || len(status.Namespaces) != vaultv1alpha1.MaxNamespaceOutcomes {
		t.Fatalf("%d matched, %d ready, %d listed", status.Matched, status.Ready, len(status.Namespaces))
	}
	var got []string
	for _, o := range status.Namespaces[:4] {
		got = append(got, o.Namespace)
	}
	if diff := cmp.Diff([]string{"z-early", "z-late", "ns-000", "ns-001"}, got); diff != "" {
		t.Errorf("listed first (-want +got):\n%s", diff)
	}
	if long := shortened(strings.Repeat("ä", 200)); len(long) > maxMessage || !utf8.ValidString(long) {
		t.Errorf("a long message has %d bytes", len(long))
	}
}

func TestSummary(t *testing.T) {
	synced, denied, pending := vaultv1alpha1.ReasonSynced, vaultv1alpha1.ReasonDenied, vaultv1alpha1.ReasonProgressing
	for name, test := range map[string]struct {
		outcomes []outcome
		want     string
	}{
		"none":    {nil, "True NoNamespaces no namespace has the labels of spec.namespaceSelector"},
		"ready":   {[]outcome{outcomeFor("a", synced), outcomeFor("b", synced)}, "True Synced the VaultSecret is ready in all 2 namespaces"},
		"pending": {[]outcome{outcomeFor("a", synced), outcomeFor("b", pending)}, "False Progressing waiting for 1 of 2 namespaces: b"},
		"failing": {
			[]outcome{outcomeFor("a", pending), outcomeFor("b", denied), outcomeFor("c", synced)},
			"False NamespacesNotReady not ready in 2 of 3 namespaces: b (Denied), a",
		},
		"many": {
			[]outcome{outcomeFor("a", denied), outcomeFor("b", denied), outcomeFor("c", denied), outcomeFor("d", denied), outcomeFor("e", denied), outcomeFor("f", denied), outcomeFor("g", denied)},
			"False NamespacesNotReady not ready in 7 of 7 namespaces: a (Denied), b (Denied), c (Denied), d (Denied), e (Denied) and 2 more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			status, reason, message := summary(test.outcomes)
			if got := fmt.Sprint(status, " ", reason, " ", message); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// The status waits for new VaultSecrets, and not forever.
func TestSettling(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	made := func(ago ...time.Duration) []outcome {
		outcomes := []outcome{outcomeFor("ready", vaultv1alpha1.ReasonSynced)}
		for _, d := range ago {
			o := outcomeFor("new", vaultv1alpha1.ReasonProgressing)
			o.pendingSince = now.Add(-d)
			outcomes = append(outcomes, o)
		}
		return outcomes
	}
	for name, test := range map[string]struct {
		outcomes []outcome
		want     time.Duration
	}{
		"none":              {made(), 0},
		"just made":         {made(0), settleTime},
		"the oldest counts": {made(time.Second, 10*time.Second), settleTime - 10*time.Second},
		"too late":          {made(time.Second, time.Hour), 0},
		"a clock ahead":     {made(-time.Hour), settleTime},
	} {
		if got := settling(test.outcomes, now); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// What an answer of the API server means. Its text, which may quote an object, is in no
// outcome.
func TestNote(t *testing.T) {
	const quoted = "quoted-text"
	resource := schema.GroupResource{Group: "vault.coffer.dev", Resource: "vaultsecrets"}
	terminating := apierrors.NewForbidden(resource, "registry", errors.New(quoted))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, test := range map[string]struct {
		err      error
		reason   string // no outcome when empty
		recheck  time.Duration
		failures int
	}{
		"terminating":  {terminating, "", 0, 0},
		"no namespace": {apierrors.NewNotFound(resource, quoted), "", 0, 0},
		"foreign":      {errNotOwned, vaultv1alpha1.ReasonVaultSecretNotOwned, 0, 0},
		"raced":        {errRaced, vaultv1alpha1.ReasonProgressing, 0, 0},
		"invalid":      {apierrors.NewInvalid(schema.GroupKind{}, quoted, nil), vaultv1alpha1.ReasonVaultSecretWriteFailed, recheckInterval, 0},
		"forbidden":    {apierrors.NewForbidden(resource, "registry", errors.New(quoted)), vaultv1alpha1.ReasonVaultSecretWriteFailed, recheckInterval, 0},
		"away":         {apierrors.NewServiceUnavailable(quoted), vaultv1alpha1.ReasonVaultSecretWriteFailed, 0, 1},
		"broken":       {errors.New(quoted), vaultv1alpha1.ReasonVaultSecretWriteFailed, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScope(&vaultv1alpha1.ClusterVaultSecret{ObjectMeta: metav1.ObjectMeta{Name: "registry"}})
			s.note("payments", fmt.Errorf("create: %w", test.err))
			reason := ""
			for _, o := range s.outcomes {
				reason = o.Reason
				if strings.Contains(o.Message, quoted) {
					t.Errorf("the outcome quotes the API server: %s", o.Message)
				}
			}
			if s.raced != errors.Is(test.err, errRaced) {
				t.Errorf("raced is %t", s.raced)
			}
			if reason != test.reason || s.recheck != test.recheck || len(s.failures) != test.failures {
				t.Errorf("reason %q, recheck %v, failures %d", reason, s.recheck, len(s.failures))
			}
		})
	}
}
