package manifests

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// The namespace of these tests, and the operator as the API server knows it.
const (
	tenant   = "tenant"
	operator = "system:serviceaccount:coffer-system:coffer"
)

var vaultSecrets = schema.GroupVersionResource{Group: "vault.coffer.dev", Version: "v1alpha1", Resource: "vaultsecrets"}

// grants are the rights of the users of these tests in the namespace tenant; all
// may write VaultSecrets.
var grants = []struct {
	user string
	// clusterRoles that are bound in the namespace.
	clusterRoles []string
	rules        []rbacv1.PolicyRule
}{
	{user: "writer", clusterRoles: []string{"coffer-editor"}},
	// What the controller manager, which does not run here, makes the role edit of.
	{user: "editor", clusterRoles: []string{"coffer-editor", "system:aggregate-to-edit"}},
	{user: "api-owner", clusterRoles: []string{"coffer-editor"}, rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}, ResourceNames: []string{"api"}},
	}},
	{user: "system:serviceaccount:flux:deployer", clusterRoles: []string{"coffer-vaultsecret-deployer"}},
	{user: "api-deployer", clusterRoles: []string{"coffer-editor"}, rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"sync-as"}, ResourceNames: []string{"api"}},
	}},
	{user: "group-owner", rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"vault.coffer.dev"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	}},
	{user: "account-writer", clusterRoles: []string{"coffer-editor"}, rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"get", "list", "create", "update", "patch", "delete"}},
	}},
	{user: "owner", rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	}},
}

// TestWhoMayNameAnAccount tries every user with two accounts, on a new VaultSecret,
// by naming the account in one that is there, and by using one that names it already.
func TestWhoMayNameAnAccount(t *testing.T) {
	config := tenantCluster(t)
	for _, test := range []struct {
		user       string
		api, other bool
	}{
		{"writer", false, false},
		{"editor", true, true},
		{"api-owner", true, false},
		{"system:serviceaccount:flux:deployer", true, true},
		{"api-deployer", true, false},
		// All of Coffer's own API group is no right to an account.
		{"group-owner", false, false},
		// Neither is writing accounts themselves.
		{"account-writer", false, false},
		{"owner", true, true},
	} {
		for account, allowed := range map[string]bool{"api": test.api, "other": test.other} {
			check := func(t *testing.T, err error) {
				t.Helper()
				expect(t, err, test.user, account, allowed)
			}
			client := as(t, config, test.user)
			t.Run(test.user+" creates for "+account, func(t *testing.T) {
				_, err := client.Create(t.Context(), vaultSecret("new", account), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				check(t, err)
			})
			t.Run(test.user+" changes to "+account, func(t *testing.T) {
				_, err := patch(t.Context(), client, "of-third", `{"spec": {"serviceAccountName": "`+account+`"}}`)
				check(t, err)
			})
			t.Run(test.user+" changes the path of "+account, func(t *testing.T) {
				_, err := patch(t.Context(), client, "of-"+account, `{"spec": {"path": "b/c"}}`)
				check(t, err)
			})
			t.Run(test.user+" labels "+account, func(t *testing.T) {
				_, err := patch(t.Context(), client, "of-"+account, `{"metadata": {"labels": {"a": "b"}, "annotations": {"vault.coffer.dev/refresh-requested-at": "1"}, "finalizers": ["example.com/x"]}}`)
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestWhoMayTakeAVaultSecretFromItsOwner: a VaultSecret that a ClusterVaultSecret made is
// free of it by any change of its owners, and then takes the right to its account.
func TestWhoMayTakeAVaultSecretFromItsOwner(t *testing.T) {
	config := tenantCluster(t)
	const collector = "system:serviceaccount:kube-system:generic-garbage-collector"
	grant(t, config, collector, []string{"coffer-editor"}, nil)
	readable(t, as(t, config, collector))
	const cluster = `{"apiVersion": "vault.coffer.dev/v1alpha1", "kind": "ClusterVaultSecret", "name": "a", "uid": "1", "controller": true}`
	const other = `{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "2"}`
	owned := func(name string, owners ...any) {
		object := vaultSecret(name, "api")
		if err := unstructured.SetNestedSlice(object.Object, owners, "metadata", "ownerReferences"); err != nil {
			t.Fatal(err)
		}
		made(t)(secretsOf(t, config).Create(t.Context(), object, metav1.CreateOptions{}))
	}
	owned("of-cluster", map[string]any{"apiVersion": "vault.coffer.dev/v1alpha1", "kind": "ClusterVaultSecret", "name": "a", "uid": "1", "controller": true})
	owned("of-configmap", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "2"})
	changes := map[string]string{
		"none":               `[]`,
		"another":            `[` + other + `]`,
		"another besides":    `[` + cluster + `, ` + other + `]`,
		"no more controller": `[` + strings.Replace(cluster, "true", "false", 1) + `]`,
		"of another UID":     `[` + strings.Replace(cluster, `"1"`, `"3"`, 1) + `]`,
	}
	for user, allowed := range map[string]bool{"writer": false, "group-owner": false, "account-writer": false, "api-owner": true, "api-deployer": true, "owner": true, collector: true} {
		client := as(t, config, user)
		try := func(object, owners string) error {
			_, err := patch(t.Context(), client, object, `{"metadata": {"ownerReferences": `+owners+`}}`)
			return err
		}
		for name, owners := range changes {
			t.Run(user+" makes its owners "+name, func(t *testing.T) {
				err := try("of-cluster", owners)
				expect(t, err, user, "api", allowed)
				if !allowed && !strings.Contains(err.Error(), "in a VaultSecret, as to take one from its ClusterVaultSecret does: ") {
					t.Errorf("refused with %q", err)
				}
			})
		}
		t.Run(user+" leaves its owner", func(t *testing.T) {
			if _, err := patch(t.Context(), client, "of-cluster", `{"metadata": {"labels": {"a": "b"}, "ownerReferences": [`+cluster+`]}}`); err != nil {
				t.Error(err)
			}
		})
		t.Run(user+" frees one of another kind", func(t *testing.T) {
			if err := try("of-configmap", `[]`); err != nil {
				t.Error(err)
			}
		})
	}
}

// expect compares the answer to a request about account with whether it should be allowed.
// A refusal says who, what, and the commands that grant the right.
func expect(t *testing.T, err error, user, account string, allowed bool) {
	t.Helper()
	if allowed {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if !apierrors.IsForbidden(err) {
		t.Fatalf("got %v, want a refusal", err)
	}
	role := "coffer-token-" + account
	for _, want := range []string{
		user + " may not use the service account tenant/" + account + " in a VaultSecret",
		"kubectl -n tenant create role " + role + " --verb=create --resource=serviceaccounts/token --resource-name=" + account + " && ",
		"kubectl -n tenant create rolebinding " + role + " --role=" + role + " --user=" + user + " ;",
		"sync-as",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %q, want %q in it", err, want)
		}
	}
}

// The commands of a refusal do what they say.
func TestTheCommandsOfARefusalGrant(t *testing.T) {
	config := tenantCluster(t)
	client := as(t, config, "writer")
	// The policy asks for rights, not whether the account exists. A new name each time, since the grant stays.
	account := strings.ToLower(rand.Text())
	create := func() error {
		_, err := client.Create(t.Context(), vaultSecret("granted", account), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	err := create()
	if err == nil {
		t.Fatal("allowed without the right")
	}
	_, commands, _ := strings.Cut(err.Error(), "runs: ")
	commands, _, _ = strings.Cut(commands, " ;")
	for command := range strings.SplitSeq(commands, " && ") {
		kubectl(t, config, strings.Fields(command)[1:]...)
	}
	eventually(t, create)
	// As docs/reference/vaultsecret.md says to ask.
	kubectl(t, config, "auth", "can-i", "create", "serviceaccounts/"+account, "--subresource=token", "-n", tenant, "--as=writer")
}

// A user name is no part of a command when a shell could take it for more.
func TestARefusalIsSafeToPaste(t *testing.T) {
	config := tenantCluster(t)
	const name = "eve; rm -rf $HOME"
	grant(t, config, name, []string{"coffer-editor"}, nil)
	client := as(t, config, name)
	readable(t, client)
	_, err := client.Create(t.Context(), vaultSecret("new", "api"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil || !strings.Contains(err.Error(), "--user=USER ;") {
		t.Errorf("refused with %v, want USER in place of the name", err)
	}
}

// A GitOps controller applies the same again and again, and never has the account's token.
func TestDeployerAppliesAndHoldsNoToken(t *testing.T) {
	config := tenantCluster(t)
	const deployer = "system:serviceaccount:flux:deployer"
	client := as(t, config, deployer)
	apply := func(client dynamic.ResourceInterface, account string) (*unstructured.Unstructured, error) {
		return client.Apply(t.Context(), "applied", vaultSecret("applied", account), metav1.ApplyOptions{FieldManager: "gitops", Force: true})
	}
	if _, err := apply(client, "api"); err != nil {
		t.Fatal(err)
	}
	// Once an operator has seen it: until then what is stored lacks the default of the status.
	first, err := as(t, config, operator).Patch(t.Context(), "applied", types.MergePatchType, []byte(`{"status": {"observedGeneration": 1}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	second, err := apply(client, "api")
	if err != nil {
		t.Fatal(err)
	}
	if first.GetResourceVersion() != second.GetResourceVersion() {
		t.Error("applying the same again wrote it again")
	}
	// Unchanged, it may be applied by somebody who could not have named the account.
	if _, err := apply(as(t, config, "writer"), "api"); err != nil {
		t.Errorf("applying what is there: %v", err)
	}
	if _, err := apply(as(t, config, "writer"), "other"); !apierrors.IsForbidden(err) {
		t.Errorf("changing the account got %v, want a refusal", err)
	}

	tokens, err := kubernetes.NewForConfig(impersonating(config, deployer))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.CoreV1().ServiceAccounts(tenant).CreateToken(t.Context(), "api", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("creating a token got %v, want a refusal", err)
	}
}

// The operator writes status, and VaultSecrets of ClusterVaultSecrets, for whatever
// account these name.
func TestOperatorWritesStatus(t *testing.T) {
	config := tenantCluster(t)
	client := as(t, config, operator)
	status := []byte(`{"status": {"observedGeneration": 1}}`)
	eventually(t, func() error {
		_, err := client.Patch(t.Context(), "of-api", types.MergePatchType, status, metav1.PatchOptions{}, "status")
		return err
	})
	object, err := client.Get(t.Context(), "of-api", metav1.GetOptions{})
	if err == nil {
		_, err = client.UpdateStatus(t.Context(), object, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Error(err)
	}
	_, err = client.Create(t.Context(), vaultSecret("made", "other"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Error(err)
	}
}

// tenantCluster is cluster with the policy in force, and in the namespace tenant the
// users of grants and, for each account, a VaultSecret that names it.
func tenantCluster(t *testing.T) *rest.Config {
	t.Helper()
	config := cluster(t)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	made(t)(client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant}}, metav1.CreateOptions{}))
	admin := secretsOf(t, config)
	for _, account := range []string{"api", "other", "third"} {
		made(t)(client.CoreV1().ServiceAccounts(tenant).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{}))
		made(t)(admin.Create(t.Context(), vaultSecret("of-"+account, account), metav1.CreateOptions{}))
	}
	for _, g := range grants {
		grant(t, config, g.user, g.clusterRoles, g.rules)
	}
	// The API server learns of the policy and of the roles through watches.
	eventually(t, func() error {
		return inForce(t.Context(), as(t, config, "writer"))
	})
	for _, user := range []string{"editor", "api-owner", "api-deployer", "system:serviceaccount:flux:deployer", "owner"} {
		eventually(t, func() error {
			_, err := as(t, config, user).Create(t.Context(), vaultSecret("probe", "api"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		})
	}
	for _, user := range []string{"group-owner", "account-writer"} {
		readable(t, as(t, config, user))
	}
	return config
}

// readable waits until the client's roles are known.
func readable(t *testing.T, client dynamic.ResourceInterface) {
	t.Helper()
	eventually(t, func() error {
		_, err := client.Get(t.Context(), "of-api", metav1.GetOptions{})
		return err
	})
}

// inForce fails until the policy itself refuses client a VaultSecret.
func inForce(ctx context.Context, client dynamic.ResourceInterface) error {
	_, err := client.Create(ctx, vaultSecret("probe", "api"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
		return nil
	}
	return &notYet{err}
}

type notYet struct{ answer error }

func (n *notYet) Error() string {
	if n.answer == nil {
		return "the policy allows a user without the right"
	}
	return n.answer.Error()
}

// grant binds clusterRoles, and a role of rules, to user in the namespace tenant.
func grant(t *testing.T, config *rest.Config, user string, clusterRoles []string, rules []rbacv1.PolicyRule) {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("/%", r) {
			return '-'
		}
		return r
	}, user)
	bind := func(kind, role string) {
		made(t)(client.RbacV1().RoleBindings(tenant).Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name + ":" + role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		}, metav1.CreateOptions{}))
	}
	for _, role := range clusterRoles {
		bind("ClusterRole", role)
	}
	if rules != nil {
		made(t)(client.RbacV1().Roles(tenant).Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}))
		bind("Role", name)
	}
}

// made fails the test unless an object was created, or is there from another test.
func made(t *testing.T) func(object any, err error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

func impersonating(config *rest.Config, user string) *rest.Config {
	config = rest.CopyConfig(config)
	config.Impersonate.UserName = user
	return config
}

func as(t *testing.T, config *rest.Config, user string) dynamic.ResourceInterface {
	t.Helper()
	return secretsOf(t, impersonating(config, user))
}

func secretsOf(t *testing.T, config *rest.Config) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(vaultSecrets).Namespace(tenant)
}

func vaultSecret(name, account string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{"serviceAccountName": account, "path": "a/b"},
	}}
	object.SetGroupVersionKind(vaultSecrets.GroupVersion().WithKind("VaultSecret"))
	object.SetName(name)
	return object
}

// patch tries a merge patch and writes nothing.
func patch(ctx context.Context, client dynamic.ResourceInterface, name, body string) (*unstructured.Unstructured, error) {
	return client.Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
}

// eventually tries until there is no error, at most 20 s.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	err := try()
	for deadline := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(deadline); err = try() {
		wait(t, 50*time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
}
