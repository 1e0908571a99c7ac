package tour

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/hack/sampleapp/fingerprint"
)

// patience is how long anything may take before the tour gives up.
const patience = 3 * time.Minute

// replicas is how many pods the sample application has.
const replicas = 2

// timeToSecret calls rotate and returns the time from the call until the Secret holds password. It watches the Secret;
// polling would measure its own period.
func (t *Tour) timeToSecret(ctx context.Context, password string, rotate func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	changes, err := t.kube.CoreV1().Secrets(namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", secretName).String(),
	})
	if err != nil {
		return 0, fmt.Errorf("watching Secret %s: %w", secretName, err)
	}
	defer changes.Stop()
	start := time.Now()
	arrived := make(chan time.Time, 1)
	go func() {
		defer close(arrived)
		for event := range changes.ResultChan() {
			if event.Type == watch.Error {
				return
			}
			if secret, ok := event.Object.(*corev1.Secret); ok && string(secret.Data["password"]) == password {
				arrived <- time.Now()
				return
			}
		}
	}()
	if err := rotate(); err != nil {
		return 0, err
	}
	at, ok := <-arrived
	if !ok {
		return 0, fmt.Errorf("the Secret %s/%s did not get the new value within %s: %s", namespace, secretName, patience, t.condition(context.WithoutCancel(ctx)))
	}
	return at.Sub(start), nil
}

// awaitFingerprint waits until everything that uses the secret reports want, and returns the reports.
func (t *Tour) awaitFingerprint(ctx context.Context, want string) (map[string]string, error) {
	var seen map[string]string
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		var err error
		if seen, err = t.observe(ctx); err != nil {
			return false, nil // pods that come and go: look again
		}
		for _, got := range seen {
			if got != want {
				return false, nil
			}
		}
		return len(seen) > 0, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the application does not have the password that is in the vault (want fingerprint %s, see %v): %s: %w",
			want, seen, t.condition(context.WithoutCancel(ctx)), err)
	}
	return seen, nil
}

// observe returns the fingerprints that the users of the secret report: the pods, by what they print, or, in an
// environment without pods, the Secret itself.
func (t *Tour) observe(ctx context.Context) (map[string]string, error) {
	if !t.pods {
		secret, err := t.kube.CoreV1().Secrets(namespace).Get(ctx, secretName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return map[string]string{"Secret " + secretName: fingerprint.Of(fingerprintKey, secret.Data["password"])}, nil
	}
	pods, err := t.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=api"})
	if err != nil {
		return nil, err
	}
	seen := map[string]string{}
	running := 0
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil {
			continue
		}
		log, err := t.kube.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			return nil, err
		}
		reports := fingerprints(string(log))
		if len(reports) == 0 {
			return nil, fmt.Errorf("pod %s has printed nothing yet", pod.Name)
		}
		running++
		for kind, value := range reports {
			seen["pod "+pod.Name+", "+kind] = value
		}
	}
	if running != replicas {
		return nil, fmt.Errorf("%d pods run, not %d", running, replicas)
	}
	return seen, nil
}

// fingerprints reads what the sample application prints: a line "<kind> fingerprint <hex>" for each place it found the
// value in.
func fingerprints(log string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(log) {
		if kind, value, ok := strings.Cut(strings.TrimSpace(line), " fingerprint "); ok {
			found[kind] = value
		}
	}
	return found
}

// awaitReady waits until the VaultSecret says that all is done.
func (t *Tour) awaitReady(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		vs, err := t.vaultSecret(ctx)
		if err != nil {
			return false, nil // looked at again; the last state is in the error below
		}
		return meta.IsStatusConditionTrue(vs.Status.Conditions, vaultv1alpha1.ConditionReady), nil
	})
	if err != nil {
		return fmt.Errorf("the VaultSecret does not become Ready: %s: %w", t.condition(context.WithoutCancel(ctx)), err)
	}
	return nil
}

// condition tells what the VaultSecret says of itself.
func (t *Tour) condition(ctx context.Context) string {
	vs, err := t.vaultSecret(ctx)
	if apierrors.IsNotFound(err) {
		return "there is no VaultSecret"
	}
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, c := range vs.Status.Conditions {
		all = append(all, fmt.Sprintf("%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message))
	}
	if len(all) == 0 {
		return "the VaultSecret has no status: is the operator running?"
	}
	return strings.Join(all, "; ")
}

func (t *Tour) vaultSecret(ctx context.Context) (*vaultv1alpha1.VaultSecret, error) {
	text, err := t.kube.CoreV1().RESTClient().Get().
		AbsPath("/apis", vaultv1alpha1.GroupVersion.String(), "namespaces", namespace, "vaultsecrets", "database").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var vs vaultv1alpha1.VaultSecret
	if err := json.Unmarshal(text, &vs); err != nil {
		return nil, fmt.Errorf("reading the VaultSecret: %w", err)
	}
	return &vs, nil
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
