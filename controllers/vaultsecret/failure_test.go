package vaultsecret_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// What a person asked for that cannot be: the reason and the words it is told in,
// never a value, and no Secret.
func TestReasons(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	const canary = "c4nary-s3cret"
	w.put(database, `{"user":"app","password":"`+canary+`","not a key":"x"}`)
	w.put("production/payments/raw", canary)
	w.put("production/payments/half", strings.Repeat("x", 600<<10))
	w.put("production/payments/other-half", strings.Repeat("y", 600<<10))

	data := func(entries ...vaultv1alpha1.VaultSecretData) func(*vaultv1alpha1.VaultSecretSpec) {
		return func(s *vaultv1alpha1.VaultSecretSpec) { s.Data = entries }
	}
	tests := map[string]struct {
		spec   func(*vaultv1alpha1.VaultSecretSpec)
		reason string
		want   string
	}{
		"no-account": {
			func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database; s.ServiceAccountName = "nobody" },
			vaultv1alpha1.ReasonServiceAccountNotFound, "nobody does not exist",
		},
		"no-version": {
			data(vaultv1alpha1.VaultSecretData{Key: "a", Path: "production/payments/raw", Version: 7}),
			vaultv1alpha1.ReasonVersionNotFound, "production/payments/raw version 7",
		},
		"no-property": {
			data(vaultv1alpha1.VaultSecretData{Key: "a", Path: database, Property: "pasword"}),
			vaultv1alpha1.ReasonPropertyNotFound, `"pasword"`,
		},
		"property-of-raw": {
			data(vaultv1alpha1.VaultSecretData{Key: "a", Path: "production/payments/raw", Property: "x"}),
			vaultv1alpha1.ReasonPropertyNotFound, "not a JSON object of strings",
		},
		"not-base64": {
			data(vaultv1alpha1.VaultSecretData{Key: "a", Path: "production/payments/raw", Decode: vaultv1alpha1.DecodeBase64}),
			vaultv1alpha1.ReasonPropertyNotFound, "not standard base64",
		},
		"property-no-key": {
			func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database },
			vaultv1alpha1.ReasonInvalidSpec, `"not a key" cannot be a key of a Secret`,
		},
		"template": {
			func(s *vaultv1alpha1.VaultSecretSpec) {
				s.Data = []vaultv1alpha1.VaultSecretData{{Key: "password", Path: database, Property: "password"}}
				s.Target.Template = map[string]string{"DSN": "{{ .pasword }}"}
			},
			vaultv1alpha1.ReasonTemplateFailed, `"pasword"`,
		},
		"too-large": {
			data(vaultv1alpha1.VaultSecretData{Key: "a", Path: "production/payments/half"}, vaultv1alpha1.VaultSecretData{Key: "b", Path: "production/payments/other-half"}),
			vaultv1alpha1.ReasonInvalidSpec, "Kubernetes takes 1048576",
		},
		"type": {
			func(s *vaultv1alpha1.VaultSecretSpec) {
				s.Path = "production/payments/raw"
				s.Target.Type = string(corev1.SecretTypeDockerConfigJson)
			},
			vaultv1alpha1.ReasonInvalidContent, "there is no key .dockerconfigjson",
		},
		"refused-name": { // which the CRD lets through
			func(s *vaultv1alpha1.VaultSecretSpec) { s.Path, s.Target.Name = "production/payments/raw", "a..b" },
			vaultv1alpha1.ReasonInvalidSpec, "spec.target.name \"a..b\"",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := w.vaultSecret(name, test.spec)
			ready := w.conditionIs(object, vaultv1alpha1.ConditionReady, test.reason)
			if !strings.Contains(ready.Message, test.want) {
				t.Errorf("the message %q does not say %q", ready.Message, test.want)
			}
			if w.secret(name) != nil {
				t.Error("there is a Secret")
			}
			event := w.hasEvent(object, test.reason)
			if text := fmt.Sprintf("%+v %s", object, event); strings.Contains(text, canary) {
				t.Errorf("the value stands in the object or the event: %s", text)
			}
		})
	}
}

// A mistake in the spec leaves the Secret as it was, and its correction ends it.
func TestMistakeKeepsTheSecret(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, `{"user":"app"}`)
	object := w.ofPath("payments", database)
	w.ready(object)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Template = map[string]string{"USER": "{{ .usr }}"} })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonTemplateFailed)
	w.conditionIs(object, vaultv1alpha1.ConditionSynced, vaultv1alpha1.ReasonTemplateFailed)
	w.holds("payments", map[string]string{"user": "app"})
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Template = map[string]string{"USER": "{{ .user }}"} })
	w.ready(object)
	w.holds("payments", map[string]string{"USER": "app"})
	if object.Status.Target.ContentChangedAt == nil {
		t.Error("another template makes other content, and the workloads need it")
	}
}

// While suspended nothing is touched; then all is made right.
func TestSuspend(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Suspend = true })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSuspended)
	s := w.secret("payments")
	change(w, s, func(s *corev1.Secret) { s.Data["value"] = []byte("edited") })
	w.rotate(database, "two")
	// Another VaultSecret that comes after shows that the operator had its chance.
	w.ready(w.ofPath("other", database))
	if got := string(w.secret("payments").Data["value"]); got != "edited" {
		t.Errorf("a suspended VaultSecret wrote %q", got)
	}
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Suspend = false })
	w.holds("payments", map[string]string{"value": "two"})
	w.ready(object)
}

// Without Postgres the Secret stays and the status says so; when Postgres is back,
// what changed is synced without anybody's help. Redis is not needed for any of it.
func TestVaultUnavailable(t *testing.T) {
	t.Parallel()
	server := testkit.PostgresServer(t)
	redis := testkit.RedisServer(t)
	dsn, err := server.CreateDatabase(t.Context(), "coffer")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, vaulttest.Config{DSN: dsn, RedisURL: redis.URL()})
	w.startOperator()
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)

	if err := redis.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.rotate(database, "two")
	w.holds("payments", map[string]string{"value": "two"})
	w.ready(object)

	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Labels = map[string]string{"a": "b"} })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonVaultUnavailable)
	w.seenAs(object, "the database is away", status.InProgressStatus)
	w.holds("payments", map[string]string{"value": "two"})

	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.ready(object)
	w.rotate(database, "three")
	w.holds("payments", map[string]string{"value": "three"})
}

// The safety resync comes without any event.
func TestRefreshInterval(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.RefreshInterval = &metav1.Duration{Duration: 50 * time.Millisecond}
	})
	w.ready(object)
	before := op.syncs(t, "Unchanged")
	w.eventually(func() string {
		if op.syncs(t, "Unchanged") < before+3 {
			return "no safety resync"
		}
		return ""
	})
}

// The API server refuses what can never be, in words that help.
func TestValidation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := map[string]struct {
		spec vaultv1alpha1.VaultSecretSpec
		want string
	}{
		"nothing to sync":  {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api"}, "name what to sync: set path, or at least one entry in data"},
		"no account":       {vaultv1alpha1.VaultSecretSpec{Path: database}, "spec.serviceAccountName"},
		"capital":          {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: "Production/x"}, "spec.path"},
		"relative":         {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: "production/../staging"}, "no '.' or '..' segment"},
		"absolute":         {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: "/production"}, "spec.path"},
		"identity token":   {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: database, Target: vaultv1alpha1.VaultSecretTarget{Type: "kubernetes.io/service-account-token"}}, "grants a Kubernetes identity"},
		"bootstrap token":  {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: database, Target: vaultv1alpha1.VaultSecretTarget{Type: "bootstrap.kubernetes.io/token"}}, "grants a Kubernetes identity"},
		"negative refresh": {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: database, RefreshInterval: &metav1.Duration{Duration: -time.Second}}, "refreshInterval cannot be negative"},
		"key twice": {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Data: []vaultv1alpha1.VaultSecretData{
			{Key: "a", Path: database}, {Key: "a", Path: database}}}, "Duplicate value"},
		"odd key":      {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Data: []vaultv1alpha1.VaultSecretData{{Key: "a/b", Path: database}}}, "spec.data[0].key"},
		"odd policy":   {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: database, DeletionPolicy: "Keep"}, `supported values: "Delete", "Retain"`},
		"odd rollout":  {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: database, Rollout: vaultv1alpha1.VaultSecretRollout{Mode: "Always"}}, `supported values: "Auto", "None"`},
		"odd decoding": {vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Data: []vaultv1alpha1.VaultSecretData{{Key: "a", Path: database, Decode: "Rot13"}}}, `supported values: "None", "Base64", "Base64URL", "Hex"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			object := &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "x"}, Spec: test.spec}
			err := w.client.Create(t.Context(), object, client.DryRunAll)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
}

// kubectl get shows the columns that people read.
func TestColumns(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	w.ready(w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database; s.Target.Name = "payments-db" }))
	out := w.kubectl("get", "vsec", "-n", w.namespace)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if got, want := strings.Fields(lines[0]), "NAME READY STATUS PATH VERSION SECRET ROLLOUT SYNCED AGE"; strings.Join(got, " ") != want {
		t.Errorf("columns are %v, want %s", got, want)
	}
	if got, want := strings.Fields(lines[1])[:7], "payments True Synced "+database+" 1 payments-db NoWorkloads"; strings.Join(got, " ") != want {
		t.Errorf("the row is %v, want %s", got, want)
	}
}

// kubectl runs the kubectl of the test control plane as administrator.
func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["test"] = &clientcmdapi.Cluster{Server: w.config.Host, CertificateAuthorityData: w.config.CAData}
	kubeconfig.AuthInfos["test"] = &clientcmdapi.AuthInfo{ClientCertificateData: w.config.CertData, ClientKeyData: w.config.KeyData}
	kubeconfig.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	kubeconfig.CurrentContext = "test"
	file := filepath.Join(w.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, file); err != nil {
		w.t.Fatal(err)
	}
	command := exec.CommandContext(context.Background(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+file)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		w.t.Fatalf("kubectl %v: %v: %s", args, err, stderr.String())
	}
	return stdout.String()
}
