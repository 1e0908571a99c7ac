package vaultsecret

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// readable is a vault in which everybody may read every path that can be, all of one
// value. The real one decides and keeps paths apart; what comes of the answer is tested
// here.
type readable struct{ value []byte }

func (v readable) Resolve(_ context.Context, _ secret.Caller, refs []secret.Ref, prefixes []secret.Prefix, limit int) (secret.Resolution, error) {
	versions := make([]secret.Metadata, len(refs))
	for i, ref := range refs {
		versions[i] = v.version(ref)
	}
	below := make([][]secret.Metadata, len(prefixes))
	for i, prefix := range prefixes {
		for n := range min(limit, 1+len(v.value)%(maxBelow+2)) {
			if path, err := secret.ParsePath(fmt.Sprintf("%sp/%d", prefix, n)); err == nil {
				below[i] = append(below[i], v.version(secret.Ref{Path: path}))
			}
		}
	}
	return secret.Resolution{Named: versions, Allowed: make([]secret.Allowed, len(refs)), Below: below}, nil
}

func (v readable) version(ref secret.Ref) secret.Metadata {
	return secret.Metadata{Path: ref.Path, Version: max(1, ref.Version), CreatedAt: noon}
}

func (v readable) Read(_ context.Context, _ secret.Caller, ref secret.Ref) (secret.Secret, error) {
	value, err := secret.NewValue(slices.Clone(v.value))
	return secret.Secret{Metadata: v.version(ref), Value: value}, err
}

func (v readable) ReadAllowed(ctx context.Context, caller secret.Caller, ref secret.Ref, _ secret.Allowed) (secret.Secret, error) {
	return v.Read(ctx, caller, ref)
}

func (v readable) Fingerprint(domain string, data ...[]byte) string {
	return fmt.Sprintf("%064x", len(domain)+len(data)) // as long as a real one
}

// HostileObjects are VaultSecrets that no CRD would let through, but that an older one
// may have, or none at all: as an API server stores them.
func HostileObjects() []string {
	many := func(n int, entry string) string {
		entries := make([]string, n)
		for i := range entries {
			entries[i] = strings.ReplaceAll(entry, "%", fmt.Sprint(i))
		}
		return strings.Join(entries, ",")
	}
	long := strings.Repeat("x", 40_000)
	refused := func(spec, good, rejected string) string {
		return `{"metadata":{"generation":1},"spec":` + spec + `,"status":{"lastGood":{"sources":[` + good + `],"inputs":"x","checksum":"x"},` +
			`"rejected":{"sources":[` + rejected + `],"rejectedAt":"0001-01-01T00:00:00Z","message":"","specChecksum":"` + checksumOf(spec) + `"}}}`
	}
	specs := []string{
		`{}`,
		`{"path":"a/b"}`,
		`{"path":"../b"}`,
		`{"path":"/` + long + `"}`,
		`{"path":"a b\u0000\nc"}`,
		`{"serviceAccountName":"` + long + `","path":"a"}`,
		`{"serviceAccountName":"a/../b","path":"a"}`,
		`{"serviceAccountName":".","path":"a"}`,
		`{"serviceAccountName":"","path":"a"}`,
		`{"path":"a","target":{"name":"a..b"}}`,
		`{"path":"a","target":{"name":"../../kube-system/x"}}`,
		`{"path":"a","target":{"name":"` + long + `"}}`,
		`{"path":"a","target":{"name":"A"}}`,
		`{"path":"a","target":{"type":"kubernetes.io/service-account-token","annotations":{"kubernetes.io/service-account.name":"admin"}}}`,
		`{"path":"a","target":{"type":"bootstrap.kubernetes.io/token"}}`,
		`{"path":"a","target":{"type":"kubernetes.io/tls"}}`,
		`{"path":"a","target":{"type":"kubernetes.io/dockerconfigjson","template":{".dockerconfigjson":"{"}}}`,
		`{"path":"a","target":{"type":"kubernetes.io/dockerconfigjson","template":{".dockerconfigjson":"{\"auths\":[]}"}}}`,
		`{"path":"a","target":{"type":"kubernetes.io/dockercfg","template":{".dockercfg":"null"}}}`,
		`{"path":"a","target":{"type":"kubernetes.io/basic-auth","template":{"x":"y"}}}`,
		`{"path":"a","target":{"type":"kubernetes.io/ssh-auth"}}`,
		`{"path":"a","target":{"labels":{"a b":"c"}}}`,
		`{"path":"a","target":{"labels":{"a":"` + long + `"}}}`,
		`{"path":"a","target":{"labels":{"app.kubernetes.io/managed-by":"me","vault.coffer.dev/x":"y"}}}`,
		`{"path":"a","target":{"annotations":{"vault.coffer.dev/owner-uid":"other","vault.coffer.dev/checksum":"x"}}}`,
		`{"path":"a","target":{"annotations":{` + many(8, `"a%":"`+long+`"`) + `}}}`,
		`{"data":[{"key":"cache/observed-checksum","path":"a"}]}`,
		`{"data":[{"key":"","path":"a"},{"key":"..","path":"a"},{"key":".","path":"a"}]}`,
		`{"data":[{"key":"` + long + `","path":"a"}]}`,
		`{"data":[{"key":"k","path":"a","version":-9223372036854775808,"property":"p","decode":"Rot13"}]}`,
		`{"data":[{"key":"k"}]}`,
		`{"data":[` + many(5000, `{"key":"k%","path":"p/%"}`) + `]}`,
		`{"dataFrom":[` + many(1000, `{"path":"p/%"}`) + `]}`,
		`{"dataFrom":[{}]}`,
		`{"dataFrom":[{"path":"a","prefix":"b/"}]}`,
		`{"dataFrom":[{"prefix":"a"}]}`,
		`{"dataFrom":[{"prefix":"` + strings.Repeat("a/", 40) + `"}]}`,
		`{"dataFrom":[{"prefix":"a/"},{"prefix":"b/"},{"prefix":"c/","onConflict":"Whatever"}]}`,
		`{"dataFrom":[{"path":"a","rename":[{"from":"((a*)*)*$","to":"$1$1$1$1"},{"from":"(","to":""}]}]}`,
		`{"dataFrom":[{"path":"a","rename":[{"from":"","to":"` + strings.Repeat("y", 300) + `"}]}]}`,
		`{"path":"a","target":{"template":{"A":"{{template \"A\" .}}","B":"{{range .}}{{range $}}{{end}}{{end}}"}}}`,
		`{"path":"a","target":{"template":{"a/b":"{{ .value }}","":"x"}}}`,
		`{"path":"a","target":{"template":{"A":"` + strings.Repeat("{{.value}}", 3000) + `"}}}`,
		`{"path":"a","refreshInterval":"-1s"}`,
		`{"path":"a","refreshInterval":"2562047h47m16.854775807s"}`,
		`{"path":"a","rollout":{"debounce":"-2562047h","mode":"Sometimes"}}`,
		`{"path":"a","rollout":{"selector":{}}}`,
		`{"path":"a","rollout":{"selector":{"matchExpressions":[{"key":"a","operator":"Is"}]}}}`,
		`{"path":"a","rollout":{"selector":{"matchLabels":{"` + long + `":"x"}}}}`,
		`{"path":"a","rollout":{"targets":[` + many(3000, `{"kind":"Job","name":"%"}`) + `]}}`,
		`{"path":"a","suspend":true,"deletionPolicy":"Keep"}`,
	}
	objects := make([]string, 0, len(specs)+7)
	for _, spec := range specs {
		objects = append(objects, `{"spec":`+spec+`}`)
	}
	return append(objects,
		`{"metadata":{"generation":-1,"annotations":{"vault.coffer.dev/refresh-requested-at":"`+strings.Repeat("é", 300)+`"}},"spec":{"path":"a"}}`,
		`{"spec":{"path":"a"},"status":{"target":{"name":"","checksum":"x","contentChangedAt":"0001-01-01T00:00:00Z"},"workloads":[{"kind":"","name":"","state":"?"}]}}`,
		`{"spec":{"path":"a"},"status":{"conditions":[{"type":"Ready","status":"Maybe","reason":"?","message":"`+long+`"},{"type":"Synced"},{"type":"Synced"}]}}`,
		`{"spec":{"path":"a"},"status":{"workloads":[`+many(3000, `{"kind":"Deployment","name":"`+strings.Repeat("w", 100)+`%","state":"Pending","pendingSince":"9999-01-01T00:00:00.000000Z"}`)+`]}}`,
		refused(`{"dataFrom":[{"prefix":"a/"}]}`, ``, many(15, `{"path":"a/p/%","version":1}`)), // what readable has below a/ for a value of 14 bytes
		refused(`{"path":"a","rollout":{"onFailure":"Explode"}}`, `{"path":"../x","version":-1},{"path":"`+long+`"}`, `{"path":"a","version":1}`),
		refused(`{"path":"a","rollout":{"onFailure":"Rollback"}}`, `{"path":"a","version":-9223372036854775808},`+many(1000, `{"path":"b/%","version":1}`), `{"path":"a","version":1}`),
	)
}

// checksumOf is the checksum of a spec of HostileObjects, so that a refusal of it is not
// over at once.
func checksumOf(spec string) string {
	object := &vaultv1alpha1.VaultSecret{}
	if err := json.Unmarshal([]byte(spec), &object.Spec); err != nil {
		panic(err) // a seed that is no object
	}
	checksum, err := specChecksum(object)
	if err != nil {
		panic(err)
	}
	return checksum
}

// Whatever stands in a VaultSecret and in the vault: no step panics, a Secret that it
// makes is one that the API server takes, and the status stays one as well.
func FuzzHostileObjects(f *testing.F) {
	values := []string{"", "raw", `{"user":"app","password":"one"}`, `{"a/b":"c","":"d","..":"e"}`, `{"a":1}`, strings.Repeat("x", 300)}
	for i, object := range HostileObjects() {
		f.Add([]byte(object), []byte(values[i%len(values)]))
		f.Add([]byte(object), []byte(values[2]))
	}
	f.Fuzz(func(t *testing.T, text, value []byte) {
		object := &vaultv1alpha1.VaultSecret{}
		if len(text) > 1<<20 || json.Unmarshal(text, object) != nil {
			return // no API server stores it, or no client reads it
		}
		// Of what the API server itself holds to rules.
		object.Namespace, object.Name, object.UID = "tenant", "hostile", "a-uid"
		s, failed := goThrough(t, object, value)
		checkStatus(t, s)
		if failed != nil && s.written && !s.cameToRollout {
			t.Error("a Secret was written for a VaultSecret that fails")
		}
	})
}

// goThrough does with object what Reconcile does, but for asking the API server.
func goThrough(t *testing.T, object *vaultv1alpha1.VaultSecret, value []byte) (*scope, *failure) {
	t.Helper()
	metrics, err := newInstruments(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	recorder := events.NewFakeRecorder(10)
	clock := clocktesting.NewFakePassiveClock(noon)
	r := &Reconciler{Vault: readable{value}, Clock: clock, Recorder: recorder, metrics: metrics}
	mapped(object, clock)

	s := newScope(object)
	err = steps(t, r, s)
	var failed *failure
	if err != nil {
		failed = failureOf(err)
	}
	conclude(s, failed)
	metrics.finished(s, failed)
	logOutcome(t.Context(), s, failed)
	r.recordEvents(s, failed)
	close(recorder.Events)
	for event := range recorder.Events {
		if len(event) > maxNote+len("Warning SomeLongReasonOfOurs ") {
			t.Errorf("an event has %d bytes", len(event))
		}
	}
	if result, err := r.result(s, failed, err); err == nil && result.RequeueAfter < 0 {
		t.Errorf("the next look is %v from now", result.RequeueAfter)
	}
	return s, failed
}

// mapped asks what the caches and the watches ask of object.
func mapped(object *vaultv1alpha1.VaultSecret, clock *clocktesting.FakePassiveClock) {
	usedPaths(object)
	rolledWorkloads(object)
	follows(rollout.Workload{Kind: rollout.KindDeployment, Object: &metav1.PartialObjectMetadata{}, Template: &corev1.PodTemplateSpec{}}, object)
	for _, w := range object.Status.Workloads {
		rollout.WaitOf(w, debounce(object))
	}
	newCensus(clock, nil, newPropagation()).OnAdd(object, true)
}

// steps are those of run, with the Secret made and not written.
func steps(t *testing.T, r *Reconciler, s *scope) error {
	if s.object.Spec.Suspend {
		return nil
	}
	if err := r.authorise(t.Context(), s); err != nil {
		return err
	}
	if err := r.turnBack(t.Context(), s); err != nil {
		return err
	}
	data, err := r.open(t.Context(), s)
	if err != nil {
		return err
	}
	s.checksum = contentChecksum(r.Vault, s.object.Namespace, targetName(s.object), data)
	target, err := r.newTarget(s, nil, data)
	if err != nil {
		return err
	}
	checkTaken(t, target)
	// And over one that somebody edited, whose note of metadata may be anything.
	edited := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tenant", Name: target.Name, Annotations: map[string]string{vaultv1alpha1.ManagedMetadataAnnotation: string(data["note"])},
	}, Type: target.Type, Data: data}
	if _, err := r.applyMetadata(s, edited); err != nil {
		return err
	}
	checkTaken(t, edited)
	s.written, s.changed = true, r.differs(s, data)
	r.noteContent(s, slices.Sorted(maps.Keys(data)))
	r.metrics.propagated(s.key(), r.Clock.Now())
	s.cameToRollout, s.rolling = true, true
	if _, err := rollout.SelectionOf(&s.object.Spec.Rollout); err != nil {
		return &failure{reason: vaultv1alpha1.ReasonInvalidSpec, message: err.Error()}
	}
	return nil
}

// checkTaken fails when the API server would not take the Secret
// (k8s.io/kubernetes/pkg/apis/core/validation, ValidateSecret), or when it would make
// somebody somebody else.
func checkTaken(t *testing.T, target *corev1.Secret) {
	t.Helper()
	for _, wrong := range apivalidation.ValidateObjectMetaAccessor(target, true, apivalidation.NameIsDNSSubdomain, nil) {
		t.Errorf("the Secret's metadata: %.300s", wrong)
	}
	size := 0
	for key, value := range target.Data {
		if wrong := validation.IsConfigMapKey(key); len(wrong) > 0 {
			t.Errorf("the key %.300q: %v", key, wrong)
		}
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		t.Errorf("the Secret has %d bytes", size)
	}
	has := func(key string) bool { _, ok := target.Data[key]; return ok }
	ok := true
	switch target.Type {
	case "", corev1.SecretTypeServiceAccountToken, "bootstrap.kubernetes.io/token":
		ok = false
	case corev1.SecretTypeDockerConfigJson:
		ok = has(corev1.DockerConfigJsonKey) && json.Unmarshal(target.Data[corev1.DockerConfigJsonKey], &map[string]any{}) == nil
	case corev1.SecretTypeDockercfg:
		ok = has(corev1.DockerConfigKey) && json.Unmarshal(target.Data[corev1.DockerConfigKey], &map[string]any{}) == nil
	case corev1.SecretTypeBasicAuth:
		ok = has(corev1.BasicAuthUsernameKey) || has(corev1.BasicAuthPasswordKey)
	case corev1.SecretTypeSSHAuth:
		ok = len(target.Data[corev1.SSHAuthPrivateKey]) > 0
	case corev1.SecretTypeTLS:
		ok = has(corev1.TLSCertKey) && has(corev1.TLSPrivateKeyKey)
	default:
	}
	if !ok {
		t.Errorf("a Secret of type %.300q with such keys is not taken, or gives an identity", target.Type)
	}
}

// maxStatusBytes bounds the status: with a spec of the same size it is far below what
// etcd takes, 1.5 MiB.
const maxStatusBytes = 512 << 10

// checkStatus fails when the API server would not take the status, or when it is large
// though nothing that it is about was.
func checkStatus(t *testing.T, s *scope) {
	t.Helper()
	left := func(c metav1.Condition) bool { return slices.Contains(s.before.Status.Conditions, c) }
	for _, c := range s.object.Status.Conditions {
		if left(c) {
			continue // somebody else's, or of another run
		}
		if c.Reason == "" || len(c.Reason) > 1024 || utf8.RuneCountInString(c.Message) > 32768 || !utf8.ValidString(c.Message) {
			t.Errorf("the condition %s/%s has %d bytes of message", c.Type, c.Reason, len(c.Message))
		}
		if c.Status != metav1.ConditionTrue && c.Status != metav1.ConditionFalse {
			t.Errorf("the condition %s is %q", c.Type, c.Status)
		}
	}
	own := s.object.Status.DeepCopy()
	own.Workloads = nil // which the rollout step makes anew from the cluster
	own.Conditions = slices.DeleteFunc(own.Conditions, left)
	encoded, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	if len(encoded) > maxStatusBytes || len(own.Path) > secret.MaxPathBytes {
		t.Errorf("the status has %d bytes, and the path in it %d", len(encoded), len(own.Path))
	}
}

// A mistake in an object ends in a reason within a moment, also where it is large.
func TestHostileObjectsEndInAReason(t *testing.T) {
	for i, text := range HostileObjects() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			object := &vaultv1alpha1.VaultSecret{}
			if err := json.Unmarshal([]byte(text), object); err != nil {
				t.Fatalf("a seed that is no object: %v", err)
			}
			object.Namespace, object.Name, object.UID = "tenant", "hostile", "a-uid"
			done := make(chan struct{})
			go func() {
				defer close(done)
				s, _ := goThrough(t, object, []byte(`{"user":"app"}`))
				if readyReason(s.object) == reasonWaiting {
					t.Error("nobody is told anything")
				}
			}()
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
		})
	}
}
