package kubeproxy_test

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/kubeproxy"
)

func isCreate(r *http.Request) bool { return r.Method == http.MethodPost }

// A fault happens as often as was asked for, and to the chosen requests only; one that
// landed was carried out, and the others were not.
func TestFaults(t *testing.T) {
	direct := testkit.Kube(t, "../testdata/crd")
	proxy := kubeproxy.Start(t, direct)
	through := newClient(t, proxy.Config())
	tests := map[string]struct {
		fault kubeproxy.Fault
		is    func(error) bool
	}{
		"conflict":       {kubeproxy.Fault{Status: http.StatusConflict}, apierrors.IsConflict},
		"already exists": {kubeproxy.Fault{Status: http.StatusConflict, Reason: metav1.StatusReasonAlreadyExists}, apierrors.IsAlreadyExists},
		"internal error": {kubeproxy.Fault{Status: http.StatusInternalServerError}, apierrors.IsInternalError},
		"unavailable":    {kubeproxy.Fault{Status: http.StatusServiceUnavailable}, apierrors.IsServiceUnavailable},
		"timeout":        {kubeproxy.Fault{Status: http.StatusGatewayTimeout}, apierrors.IsTimeout},
		"timeout landed": {kubeproxy.Fault{Status: http.StatusGatewayTimeout, Landed: true}, apierrors.IsTimeout},
		"cut":            {kubeproxy.Fault{}, func(err error) bool { return apierrors.ReasonForError(err) == metav1.StatusReasonUnknown }},
		"cut landed":     {kubeproxy.Fault{Landed: true}, func(err error) bool { return apierrors.ReasonForError(err) == metav1.StatusReasonUnknown }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.fault.Requests, test.fault.Times = isCreate, 1
			fault := proxy.Inject(test.fault)
			object := func() *corev1.ConfigMap {
				return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: strings.ReplaceAll(name, " ", "-")}}
			}
			err := through.Create(t.Context(), object())
			if err == nil || !test.is(err) {
				t.Fatalf("the request failed with %v (reason %q)", err, apierrors.ReasonForError(err))
			}
			if fault.Left() != 0 {
				t.Errorf("%d faults are left", fault.Left())
			}
			if err := through.Get(t.Context(), client.ObjectKeyFromObject(object()), object()); (err == nil) != test.fault.Landed {
				t.Errorf("the object is there: %v", err)
			}
			if err := through.Create(t.Context(), object()); apierrors.IsAlreadyExists(err) != test.fault.Landed {
				t.Errorf("once more, without fault: %v", err)
			}
		})
	}
}

// An answer 429 tells when to ask again, and client-go does.
func TestTooManyRequestsIsTriedAgain(t *testing.T) {
	proxy := kubeproxy.Start(t, testkit.Kube(t, "../testdata/crd"))
	fault := proxy.Inject(kubeproxy.Fault{Requests: isCreate, Times: 1, Status: http.StatusTooManyRequests})
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "patient"}}
	if err := newClient(t, proxy.Config()).Create(t.Context(), object); err != nil || fault.Left() != 0 {
		t.Errorf("%v, with %d faults left", err, fault.Left())
	}
}

// Rights are those of the user that a request impersonates.
func TestImpersonationIsPassedOn(t *testing.T) {
	proxy := kubeproxy.Start(t, testkit.Kube(t, "../testdata/crd"))
	config := proxy.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	err := newClient(t, config).Get(t.Context(), client.ObjectKey{Name: "default"}, &corev1.Namespace{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a user without rights got %v", err)
	}
}

func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
