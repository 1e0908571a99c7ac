package access

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/coffer-vault/coffer/internal/testkit"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A token is used for four fifths of its life, or until the server refuses it.
func TestTokenIsRenewed(t *testing.T) {
	kube, err := kubernetes.NewForConfig(testkit.Kube(t, "../../testkit/testdata/crd"))
	must(t, err)
	_, err = kube.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "renewed"}}, metav1.CreateOptions{})
	must(t, err)
	began := time.Now()
	now := began
	i := &Installation{
		target: Target{ServiceAccount: types.NamespacedName{Namespace: "default", Name: "renewed"}, Audience: DefaultAudience},
		kube:   kube, now: func() time.Time { return now },
	}
	get := func() string {
		t.Helper()
		token, err := i.Token(t.Context())
		must(t, err)
		return token
	}
	first := get()
	now = began.Add(45 * time.Minute)
	if get() != first {
		t.Error("a token with a quarter of its life left is not used again")
	}
	now = began.Add(49 * time.Minute)
	second := get()
	if second == first {
		t.Error("a token with less than a fifth of its life left is used again")
	}
	i.forget(first)
	if get() != second {
		t.Error("a token was forgotten for the refusal of an older one")
	}
	i.forget(second)
	if get() == second {
		t.Error("a refused token is used again")
	}
}

// While the API server is away, a token is used until it expires; one that it refuses to renew is not.
func TestTokenOutlastsTheAPIServer(t *testing.T) {
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: "https://127.0.0.1:1"})
	must(t, err)
	began := time.Now()
	now := began.Add(50 * time.Minute)
	i := &Installation{
		target: Target{ServiceAccount: types.NamespacedName{Namespace: "default", Name: "old"}}, kube: kube, now: func() time.Time { return now },
		token: "old", renew: began.Add(48 * time.Minute), expires: began.Add(time.Hour),
	}
	if got, err := i.Token(t.Context()); err != nil || got != "old" {
		t.Errorf("in its last fifth, the token is not used: %v", err)
	}
	if got := i.renew.Sub(now); got != renewAgain {
		t.Errorf("the API server is asked again after %v", got)
	}
	now = began.Add(time.Hour)
	if got, err := i.Token(t.Context()); err == nil || got != "" {
		t.Errorf("an expired token is used: %v", err)
	}
	now = began.Add(50 * time.Minute)
	i.forget("old")
	if got, err := i.Token(t.Context()); err == nil || got != "" {
		t.Errorf("a token that the server refused is used: %v", err)
	}

	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(refuses.Close)
	i.kube, err = kubernetes.NewForConfig(&rest.Config{Host: refuses.URL})
	must(t, err)
	i.token, i.renew = "old", began
	if got, err := i.Token(t.Context()); err == nil || got != "" {
		t.Errorf("the token %q is used by somebody who may have none any more: %v", got, err)
	}
}

func TestReadyAndPort(t *testing.T) {
	pod := corev1.Pod{
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 8080}, {Name: "https", ContainerPort: 8443}}}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	if !ready(pod) {
		t.Error("a ready pod is not taken")
	}
	ending := *pod.DeepCopy()
	ending.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	unready := *pod.DeepCopy()
	unready.Status.Conditions[0].Status = corev1.ConditionFalse
	if ready(ending) || ready(unready) || ready(corev1.Pod{}) {
		t.Error("a pod that does not serve is taken")
	}
	for want, target := range map[int32]intstr.IntOrString{8443: intstr.FromString("https"), 9443: intstr.FromInt32(9443), 0: intstr.FromString("other")} {
		if got := portOf(pod, target); got != want {
			t.Errorf("port %s: got %d, want %d", target.String(), got, want)
		}
	}
}

func TestGrantCommands(t *testing.T) {
	r := right{namespace: "payments", role: "coffer-token-api", verb: "create", resource: "serviceaccounts/token", name: "api"}
	for user, want := range map[string]string{
		"alice@example.org": "create rolebinding coffer-token-api-alice-example.org --role=coffer-token-api --user=alice@example.org",
		"oidc: o'hara":      `create rolebinding coffer-token-api-oidc-o-hara --role=coffer-token-api --user='oidc: o'\''hara'`,
		"system:serviceaccount:ci:builder": "create rolebinding coffer-token-api-system-serviceaccount-ci-builder " +
			"--role=coffer-token-api --serviceaccount=ci:builder",
	} {
		if got := r.commands(user); !strings.HasSuffix(got, want) {
			t.Errorf("for %s:\n%s\nwant the end\n%s", user, got, want)
		}
	}
}
