package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

const (
	// operatorUser is the manager as the API server knows it.
	operatorUser = "system:serviceaccount:" + testNamespace + ":coffer"
	// outside is a namespace that the limited manager is not to work in.
	outside = "checkout"
	shared  = "production/payments/database"
)

// TestLimitedToNamespaces runs the manager as a service account that has the Roles of
// config/limited and nothing else. In the namespace that they are bound in all works as
// ever; another, which asks for the same, is left as it is.
func TestLimitedToNamespaces(t *testing.T) {
	cluster := startCluster(t)
	makeNamespace(t, cluster, outside)
	bindLimited(t, cluster, testNamespace, tenant)
	address := freeAddress(t)
	config := testConfig(t, address)
	config.WatchNamespaces = stringList{tenant}
	stopped := runAs(t, config, operatorUser)

	api := newAPIClient(t, cluster, address)
	eventually(t, "the administrator's policy to be in force", stopped, func() error {
		_, err := api.Put(t.Context(), shared, sdk.PutRequest{Value: []byte("first"), Access: &sdk.AccessPolicy{
			AllowedServices: []string{tenant + "/api", outside + "/api"}, AllowedEnvironments: []string{"production"},
		}})
		return err
	})
	for _, namespace := range []string{outside, tenant} {
		mustCreate(t, cluster, vaultSecretIn(namespace), deploymentIn(namespace))
	}
	mustCreate(t, cluster, everywhere(), rotated())
	eventually(t, "the Secret", stopped, func() error { return holds(t.Context(), cluster, "first") })
	if _, err := api.Rotate(t.Context(), shared, sdk.PutRequest{Value: []byte("second")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rotated Secret", stopped, func() error { return holds(t.Context(), cluster, "second") })
	eventually(t, "the rollout", stopped, func() error { return stamped(t.Context(), cluster, tenant) })
	eventually(t, "the status", stopped, func() error { return readyReason(t.Context(), cluster, tenant, "RollingOut") })

	// The namespace's label is watched, by its name.
	label(t, cluster, tenant, "staging")
	eventually(t, "the Secret to go with the environment", stopped, func() error {
		err := cluster.Get(t.Context(), client.ObjectKey{Namespace: tenant, Name: "database"}, &corev1.Secret{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	})
	label(t, cluster, tenant, "production")
	eventually(t, "the Secret to come back", stopped, func() error { return holds(t.Context(), cluster, "second") })

	// Callers of the API: those of the namespaces, and the installation's own.
	mine := apiClientOf(t, cluster, address, tenant, "api")
	if got, err := mine.Get(t.Context(), shared); err != nil || string(got.Value) != "second" {
		t.Errorf("an account of the namespace got %v", err)
	}
	if _, err := apiClientOf(t, cluster, address, outside, "api").Get(t.Context(), shared); sdk.CodeOf(err) != sdk.CodeUnauthenticated {
		t.Errorf("an account of another namespace got %v, want %s", err, sdk.CodeUnauthenticated)
	}

	untouched(t, cluster)
}

// untouched fails the test when anything of the namespace outside, the
// ClusterVaultSecret, or the VaultRotation, has been written.
func untouched(t *testing.T, cluster client.Client) {
	t.Helper()
	var found vaultv1alpha1.VaultSecretList
	if err := cluster.List(t.Context(), &found, client.InNamespace(outside)); err != nil {
		t.Fatal(err)
	}
	if len(found.Items) != 1 || len(found.Items[0].Status.Conditions) > 0 {
		t.Errorf("VaultSecrets in %s: %+v", outside, found.Items)
	}
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: outside, Name: "database"}, &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("reading the Secret in %s got %v", outside, err)
	}
	if stamped(t.Context(), cluster, outside) == nil {
		t.Errorf("the Deployment in %s is stamped", outside)
	}
	object := everywhere()
	if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil || len(object.Status.Conditions) > 0 {
		t.Errorf("the ClusterVaultSecret has the status %+v (%v)", object.Status, err)
	}
	rotation := rotated()
	if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(rotation), rotation); err != nil || len(rotation.Status.Conditions) > 0 {
		t.Errorf("the VaultRotation has the status %+v (%v)", rotation.Status, err)
	}
}

// A namespace where the rights are missing, that is being deleted or does not exist is left
// out, with a warning and a metric that say so; the start ends where none is left.
func TestLimitToLeavesOutNamespaces(t *testing.T) {
	const deleted = "leaving"
	cluster := startCluster(t)
	makeNamespace(t, cluster, outside)
	makeNamespace(t, cluster, deleted)
	bindLimited(t, cluster, testNamespace, tenant, "gone", outside, deleted)
	for _, object := range []client.Object{
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: outside, Name: "coffer-manager"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: deleted}}, // nothing ends its deletion here
	} {
		if err := cluster.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	restConfig, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	restConfig.Impersonate.UserName = operatorUser
	direct, err := client.New(restConfig, client.Options{Scheme: newScheme()})
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	var registry *prometheus.Registry
	try := func(names ...string) (stringList, error) {
		logged.Reset()
		registry = prometheus.NewRegistry()
		c := Config{Namespace: testNamespace, WatchNamespaces: names}
		err := limitTo(t.Context(), direct, &c, slog.New(slog.NewTextHandler(&logged, nil)), registry)
		return c.WatchNamespaces, err
	}
	eventually(t, "the roles to be known", nil, func() error {
		_, err := try(tenant)
		return err
	})
	for _, want := range []string{"ClusterVaultSecrets and VaultRotations are not looked after", "namespaces=[payments]"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("logged %s, want %q in it", &logged, want)
		}
	}
	leftOut := func(name, reason, says string) error {
		got, err := try(tenant, name)
		if err != nil {
			return err
		}
		if got.String() != tenant {
			return fmt.Errorf("beside %s: got %v, want %s alone", name, got, tenant)
		}
		for _, want := range []string{"is left out: nothing is looked after there; restart when it is put right\" namespace=" + name + " reason=" + reason, says} {
			if !strings.Contains(logged.String(), want) {
				return fmt.Errorf("logged %s, want %q in it", &logged, want)
			}
		}
		if _, err := try(name); err == nil || !strings.Contains(err.Error(), "none of --watch-namespaces can be worked in: put one right, or correct the list: ") || !strings.Contains(err.Error(), says) {
			return errors.Join(fmt.Errorf("%s alone is to give an error that says %q", name, says), err)
		}
		return testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP coffer_namespaces_left_out 1: the namespace of --watch-namespaces was left out when this replica started.
# TYPE coffer_namespaces_left_out gauge
coffer_namespaces_left_out{reason="`+reason+`",watch_namespace="`+name+`"} 1
`), "coffer_namespaces_left_out")
	}
	for _, test := range []struct{ name, reason, says string }{
		{"gone", "NotFound", "the namespace gone of --watch-namespaces does not exist: make it, or leave it out"},
		{deleted, "Terminating", "the namespace leaving of --watch-namespaces is being deleted: leave it out"},
		{outside, "RightsMissing", "may not watch VaultSecrets in the namespace checkout of --watch-namespaces: bind the Role of config/limited there"},
		{"default", "RightsMissing", "may not read the namespace default, whose label says its environment: name it in resourceNames"},
	} {
		if err := leftOut(test.name, test.reason, test.says); err != nil {
			t.Error(err)
		}
	}
	for _, test := range []struct{ resource, says string }{
		{"pods", "may not list pods"}, {"secrets", "may not create secrets"}, {"vaultsecrets/status", "may not update vaultsecrets/status"},
		{"serviceaccounts", "may not list serviceaccounts"}, {"deployments", "may not list deployments"},
	} {
		unbind := bindRoleWithout(t, cluster, outside, test.resource)
		eventually(t, "the missing right to "+test.resource, nil, func() error {
			return leftOut(outside, "RightsMissing", test.says+" in the namespace checkout of --watch-namespaces: bring the Role of config/limited up to date there")
		})
		unbind()
	}
	c := Config{Namespace: testNamespace}
	if err := limitTo(t.Context(), nil, &c, nil, nil); err != nil || c.limited() || c.knownNamespaces() != nil {
		t.Errorf("without namespaces: %v", err)
	}
}

// TestOperatorsShareAnEngine runs two managers of two clusters over one vault. In both
// the same names stand for different accounts: a VaultPolicy of one gives nothing to
// the other, and a rotation reaches both.
func TestOperatorsShareAnEngine(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, shared, "one")
	eu, us := startOperatorOf(t, env, "eu"), startOperatorOf(t, env, "us")
	for _, cluster := range []client.Client{eu, us} {
		mustCreate(t, cluster, vaultSecretIn(tenant))
	}
	denied := func(cluster client.Client) {
		t.Helper()
		eventually(t, "the denial", nil, func() error { return readyReason(t.Context(), cluster, tenant, vaultv1alpha1.ReasonDenied) })
		if err := holds(t.Context(), cluster, "one"); err == nil || apierrors.IsNotFound(err) {
			t.Errorf("a denied VaultSecret has the Secret, or it cannot be read: %v", err)
		}
	}
	denied(eu)
	denied(us)
	euPolicy := readers()
	mustCreate(t, eu, euPolicy)
	eventually(t, "the Secret of eu", nil, func() error { return holds(t.Context(), eu, "one") })
	denied(us)
	for name, want := range map[string]error{"eu": nil, "us": secret.ErrDenied} {
		caller := vaulttest.ServiceAccount(tenant, "api", "production")
		caller.Cluster = name
		if _, err := env.Engine.Check(t.Context(), caller, []secret.Ref{{Path: vaulttest.Path(t, shared)}}); !errors.Is(err, want) {
			t.Errorf("an account of %s got %v, want %v", name, err, want)
		}
	}
	mustCreate(t, us, readers())
	eventually(t, "the Secret of us", nil, func() error { return holds(t.Context(), us, "one") })

	env.Put(t, shared, "two")
	for name, cluster := range map[string]client.Client{"eu": eu, "us": us} {
		eventually(t, "the rotation in "+name, nil, func() error { return holds(t.Context(), cluster, "two") })
	}

	// What one cluster takes back, the other keeps.
	if err := eu.Delete(t.Context(), euPolicy); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the denial in eu", nil, func() error { return readyReason(t.Context(), eu, tenant, vaultv1alpha1.ReasonDenied) })
	env.Put(t, shared, "three")
	eventually(t, "the rotation in us", nil, func() error { return holds(t.Context(), us, "three") })
}

// startOperatorOf starts a control plane, and on it a manager that is limited to the
// namespace tenant and has an engine of its own on env. It returns the administrator's
// access.
func startOperatorOf(t *testing.T, env *vaulttest.Env, name string) client.Client {
	t.Helper()
	server, err := kube.Start("../../config/crd/bases")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	cluster, err := client.New(server.Config(), client.Options{Scheme: newScheme()})
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testNamespace}})
	makeNamespace(t, cluster, tenant)
	bindLimited(t, cluster, testNamespace, tenant)
	asOperator := rest.CopyConfig(server.Config())
	asOperator.Impersonate.UserName = operatorUser
	c := Config{
		ClusterName: name, Namespace: testNamespace, WatchNamespaces: stringList{tenant}, MetricsBindAddress: "0", HealthProbeBindAddress: "0",
	}
	engine := env.Open(t)
	direct, err := client.New(asOperator, client.Options{Scheme: newScheme()})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the roles of "+name, nil, func() error {
		checked := c
		return limitTo(t.Context(), direct, &checked, slog.New(slog.DiscardHandler), nil)
	})
	mgr, err := newManager(asOperator, engine, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := setupControllers(mgr, engine, c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager of %s: %v", name, err)
		}
	})
	return cluster
}

// runAs runs the manager as user until the test ends.
func runAs(t *testing.T, config Config, user string) (stopped <-chan error) {
	t.Helper()
	// Another Run of this process has its metrics registered.
	before := metrics.Registry
	metrics.Registry = prometheus.NewRegistry()
	access, err := clientcmd.LoadFromFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range access.AuthInfos {
		info.Impersonate = user
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*access, file); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, config) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		metrics.Registry = before
	})
	return ended
}

// bindLimited gives operatorUser what a chart with watchNamespaces does: the Role of
// config/limited in each namespace that exists, its ClusterRole for their names, and
// the Role of its own namespace.
func bindLimited(t *testing.T, cluster client.Client, own string, namespaces ...string) {
	t.Helper()
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: testNamespace, Name: "coffer"}}
	clusterRole := &rbacv1.ClusterRole{}
	readManifest(t, "limited/cluster_role.yaml", clusterRole)
	for i := range clusterRole.Rules {
		if rule := &clusterRole.Rules[i]; rule.ResourceNames != nil {
			rule.ResourceNames = append([]string{own}, namespaces...)
		}
	}
	installation := &rbacv1.Role{}
	readManifest(t, "rbac/installation_role.yaml", installation)
	mustCreate(t, cluster, clusterRole, installation, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: clusterRole.Name}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterRole.Name},
	}, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: installation.Name}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: installation.Name},
	})
	for _, namespace := range namespaces {
		if err := cluster.Get(t.Context(), client.ObjectKey{Name: namespace}, &corev1.Namespace{}); apierrors.IsNotFound(err) {
			continue
		}
		role := &rbacv1.Role{}
		readManifest(t, "limited/role.yaml", role)
		role.Namespace = namespace
		mustCreate(t, cluster, role, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.Name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		})
	}
}

// TestRoleHasTheNeededRights: what is checked is in the Role, and a Role without any one of
// them is not enough.
func TestRoleHasTheNeededRights(t *testing.T) {
	role := &rbacv1.Role{}
	readManifest(t, "limited/role.yaml", role)
	for _, right := range neededRights() {
		granted := slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.APIGroups, right.Group) && slices.Contains(rule.Resources, resourceOf(right)) && slices.Contains(rule.Verbs, right.Verb)
		})
		if !granted {
			t.Errorf("the Role of config/limited does not let the operator %s %s", right.Verb, resourceOf(right))
		}
	}
}

// bindRoleWithout gives operatorUser the Role of config/limited as it was before it had the
// rule about resource. The result takes it away.
func bindRoleWithout(t *testing.T, cluster client.Client, namespace, resource string) (unbind func()) {
	t.Helper()
	role := &rbacv1.Role{}
	readManifest(t, "limited/role.yaml", role)
	role.Namespace, role.Name = namespace, "coffer-manager-older"
	role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, resource) })
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: testNamespace, Name: "coffer"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
	}
	mustCreate(t, cluster, role, binding)
	return func() {
		if err := errors.Join(cluster.Delete(t.Context(), role), cluster.Delete(t.Context(), binding)); err != nil {
			t.Fatal(err)
		}
	}
}

func readManifest(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../config/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatal(err)
	}
}

func mustCreate(t *testing.T, cluster client.Client, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := cluster.Create(t.Context(), object); err != nil {
			t.Fatalf("create %T: %v", object, err)
		}
	}
}

// makeNamespace makes one of the environment production, with the service account api.
func makeNamespace(t *testing.T, cluster client.Client, name string) {
	t.Helper()
	mustCreate(t, cluster,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{vaultv1alpha1.EnvironmentLabel: "production"}}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "api"}})
}

func label(t *testing.T, cluster client.Client, namespace, environment string) {
	t.Helper()
	object := &corev1.Namespace{}
	if err := cluster.Get(t.Context(), client.ObjectKey{Name: namespace}, object); err != nil {
		t.Fatal(err)
	}
	before := object.DeepCopy()
	object.Labels[vaultv1alpha1.EnvironmentLabel] = environment
	if err := cluster.Patch(t.Context(), object, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func vaultSecretIn(namespace string) *vaultv1alpha1.VaultSecret {
	return &vaultv1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "database"},
		Spec:       vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: shared},
	}
}

// deploymentIn uses the Secret database.
func deploymentIn(namespace string) *appsv1.Deployment {
	labels := map[string]string{"app": "api"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "api"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "main", Image: "none.local/none",
					EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "database"}}}},
				}}},
			},
		},
	}
}

// everywhere is a ClusterVaultSecret for all namespaces of the environment production.
func everywhere() *vaultv1alpha1.ClusterVaultSecret {
	return &vaultv1alpha1.ClusterVaultSecret{
		ObjectMeta: metav1.ObjectMeta{Name: "everywhere"},
		Spec: vaultv1alpha1.ClusterVaultSecretSpec{
			NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{vaultv1alpha1.EnvironmentLabel: "production"}},
			Template:          vaultv1alpha1.VaultSecretTemplate{Spec: vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: shared}},
		},
	}
}

// rotated is a VaultRotation of an account of the namespace tenant.
func rotated() *vaultv1alpha1.VaultRotation {
	return &vaultv1alpha1.VaultRotation{
		ObjectMeta: metav1.ObjectMeta{Name: "rotated"},
		Spec: vaultv1alpha1.VaultRotationSpec{
			Path: shared, ServiceAccountRef: vaultv1alpha1.ServiceAccountReference{Namespace: tenant, Name: "api"},
			Method: vaultv1alpha1.RotationMethod{Generate: &vaultv1alpha1.GenerateMethod{UUID: &vaultv1alpha1.UUIDGenerator{}}},
		},
	}
}

// readers is a VaultPolicy that lets the namespace tenant read.
func readers() *vaultv1alpha1.VaultPolicy {
	return &vaultv1alpha1.VaultPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "readers"},
		Spec: vaultv1alpha1.VaultPolicySpec{Rules: []vaultv1alpha1.VaultPolicyRule{{
			Effect: vaultv1alpha1.EffectAllow, Paths: []vaultv1alpha1.PathPattern{"production/payments/**"}, Capabilities: []vaultv1alpha1.Capability{"read"},
			Subjects: vaultv1alpha1.PolicySubjects{ServiceAccounts: []vaultv1alpha1.ServiceAccountSubject{{Namespace: tenant, Name: "*"}}},
		}}},
	}
}

// stamped returns nil when the Deployment of the namespace was rolled for the Secret.
func stamped(ctx context.Context, cluster client.Client, namespace string) error {
	var d appsv1.Deployment
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "api"}, &d); err != nil {
		return err
	}
	if d.Spec.Template.Annotations[vaultv1alpha1.StampAnnotationPrefix+"database"] == "" {
		return errors.New("the pod template has no stamp")
	}
	return nil
}

// readyReason returns nil when the VaultSecret database says reason of its present spec.
func readyReason(ctx context.Context, cluster client.Client, namespace, reason string) error {
	var object vaultv1alpha1.VaultSecret
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "database"}, &object); err != nil {
		return err
	}
	ready := meta.FindStatusCondition(object.Status.Conditions, vaultv1alpha1.ConditionReady)
	if ready == nil || ready.Reason != reason {
		return fmt.Errorf("Ready is %+v, want %s", ready, reason)
	}
	return nil
}
