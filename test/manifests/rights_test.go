package manifests

import (
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestManagerHasTheRightsItNeedsAndNoOthers asks the API server's own authoriser
// what the manager's service account may do. "own" is its namespace.
func TestManagerHasTheRightsItNeedsAndNoOthers(t *testing.T) {
	client, err := kubernetes.NewForConfig(cluster(t))
	if err != nil {
		t.Fatal(err)
	}
	type right = authorizationv1.ResourceAttributes
	const own, other = "coffer-system", "payments"
	for _, test := range []struct {
		name  string
		right right
		want  bool
	}{
		{"watch VaultSecrets", right{Verb: "watch", Group: "vault.coffer.dev", Resource: "vaultsecrets"}, true},
		{"write their status", right{Verb: "update", Group: "vault.coffer.dev", Resource: "vaultsecrets", Subresource: "status", Namespace: other}, true},
		{"watch ClusterVaultSecrets", right{Verb: "watch", Group: "vault.coffer.dev", Resource: "clustervaultsecrets"}, true},
		{"write ClusterVaultSecrets' status", right{Verb: "patch", Group: "vault.coffer.dev", Resource: "clustervaultsecrets", Subresource: "status"}, true},
		{"make VaultSecrets of a ClusterVaultSecret", right{Verb: "create", Group: "vault.coffer.dev", Resource: "vaultsecrets", Namespace: other}, true},
		{"name an account in them", right{Verb: "sync-as", Resource: "serviceaccounts", Name: "api", Namespace: other}, true},
		{"watch VaultRotations", right{Verb: "watch", Group: "vault.coffer.dev", Resource: "vaultrotations"}, true},
		{"write VaultRotations' status", right{Verb: "patch", Group: "vault.coffer.dev", Resource: "vaultrotations", Subresource: "status"}, true},
		{"watch VaultPolicies", right{Verb: "watch", Group: "vault.coffer.dev", Resource: "vaultpolicies"}, true},
		{"write a Secret", right{Verb: "create", Resource: "secrets", Namespace: other}, true},
		{"watch service accounts", right{Verb: "watch", Resource: "serviceaccounts"}, true},
		{"watch namespaces", right{Verb: "watch", Resource: "namespaces"}, true},
		{"stamp a Deployment", right{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: other}, true},
		{"see whether pods crash", right{Verb: "list", Resource: "pods", Namespace: other}, true},
		{"check a token", right{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"}, true},
		{"take its lease", right{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "coffer.vault.coffer.dev", Namespace: own}, true},
		{"publish its authority", right{Verb: "update", Resource: "configmaps", Name: "coffer-ca", Namespace: own}, true},
		{"renew its certificate", right{Verb: "update", Resource: "secrets", Name: "coffer-api-tls", Namespace: own}, true},
		{"record an event of its own", right{Verb: "create", Group: "events.k8s.io", Resource: "events", Namespace: own}, true},

		{"make tokens of service accounts", right{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: other}, false},
		{"write service accounts", right{Verb: "create", Resource: "serviceaccounts", Namespace: other}, false},
		{"write VaultPolicies", right{Verb: "update", Group: "vault.coffer.dev", Resource: "vaultpolicies"}, false},
		{"write VaultRotations", right{Verb: "update", Group: "vault.coffer.dev", Resource: "vaultrotations"}, false},
		{"watch all pods", right{Verb: "watch", Resource: "pods"}, false},
		{"write ClusterVaultSecrets", right{Verb: "update", Group: "vault.coffer.dev", Resource: "clustervaultsecrets"}, false},
		{"run pods", right{Verb: "create", Resource: "pods", Namespace: other}, false},
		{"enter pods", right{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: other}, false},
		{"delete workloads", right{Verb: "delete", Group: "apps", Resource: "deployments", Namespace: other}, false},
		{"read ConfigMaps elsewhere", right{Verb: "get", Resource: "configmaps", Namespace: other}, false},
		{"read other ConfigMaps here", right{Verb: "get", Resource: "configmaps", Name: "other", Namespace: own}, false},
		{"take other leases", right{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "other", Namespace: own}, false},
		{"give itself rights", right{Verb: "update", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}, false},
		{"act as others", right{Verb: "impersonate", Resource: "users"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ask := func() bool {
				review, err := client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
					Spec: authorizationv1.SubjectAccessReviewSpec{
						User:               "system:serviceaccount:coffer-system:coffer",
						Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:coffer-system", "system:authenticated"},
						ResourceAttributes: &test.right,
					},
				}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return review.Status.Allowed
			}
			// The authoriser learns of new roles through a watch.
			for deadline := time.Now().Add(10 * time.Second); test.want && !ask() && time.Now().Before(deadline); {
				wait(t, 50*time.Millisecond)
			}
			if got := ask(); got != test.want {
				t.Errorf("allowed: %t, want %t", got, test.want)
			}
		})
	}
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(d):
	}
}
