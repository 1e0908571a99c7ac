//go:build e2e

package e2e

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// loginImage is the program of hack/loginapp, in the node's image store.
const loginImage = "coffer.local/loginapp:dev"

// Names in the namespaces of the six services.
const (
	rolledSecret   = "database"
	followedSecret = "database-followed"
	refusal        = "refusal"
	picky          = "payments"
)

// six services use one login: by the environment, which takes a rollout, and by a file. One is in a namespace of its own, and
// one is not rolled at all. So three VaultSecrets are consumers of the path.
type six struct {
	e         *environment
	path      string
	elsewhere string
	// verified is the VaultSecret whose rollout the bad rotation breaks.
	verified    *vaultv1alpha1.VaultSecret
	rotation    *vaultv1alpha1.VaultRotation
	logins      *logins
	credentials *credentials
}

func startSix(t *testing.T, e *environment, db *database) *six {
	t.Helper()
	s := &six{e: e, path: e.path("database"), elsewhere: e.addNamespace(t, "production")}
	s.logins = watchLogins(t, e, e.namespace, s.elsewhere)
	s.credentials = watchCredentials(t, e)
	coffer(t, db.first(t), "put", s.path, "--allow-service", e.namespace+"/api", "--allow-service", s.elsewhere+"/api", "--allow-environment", "production")

	s.verified = e.vaultSecret(t, e.namespace, rolledSecret, s.path)
	elsewhere := e.vaultSecret(t, s.elsewhere, rolledSecret, s.path)
	followed := vaultSecretObject(e.namespace, followedSecret, s.path)
	followed.Spec.Rollout.Mode = vaultv1alpha1.RolloutNone
	must(t, e.client.Create(t.Context(), followed))

	for _, service := range []*appsv1.Deployment{
		loginService(e.namespace, "orders", byEnvironment()),
		loginService(e.namespace, "billing", byEnvironment()),
		loginService(e.namespace, picky, byEnvironment()),
		loginService(e.namespace, "stock", byFile(rolledSecret)),
		loginService(e.namespace, "search", byFile(followedSecret)),
		loginService(s.elsewhere, "mail", byEnvironment()),
	} {
		must(t, e.client.Create(t.Context(), service))
	}
	e.waitForRolledOut(t, s.verified, 1, 4)
	e.waitForRolledOut(t, elsewhere, 1, 1)
	s.waitUntilAllLogIn(t)
	return s
}

// waitUntilAllLogIn waits for a ready pod of each service.
func (s *six) waitUntilAllLogIn(t *testing.T) {
	t.Helper()
	eventually(t, "the six services to log in", func(ctx context.Context) (bool, error) {
		ready := 0
		for _, namespace := range []string{s.e.namespace, s.elsewhere} {
			var found appsv1.DeploymentList
			if err := s.e.client.List(ctx, &found, client.InNamespace(namespace)); err != nil {
				return false, err
			}
			for _, d := range found.Items {
				ready += int(d.Status.ReadyReplicas)
			}
		}
		return ready >= 6, nil
	})
}

// source is where a service has its login from.
type source struct {
	environment []corev1.EnvVar
	mounts      []corev1.VolumeMount
	volumes     []corev1.Volume
}

func byEnvironment() source {
	return source{environment: []corev1.EnvVar{{Name: "DATABASE_URL", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: rolledSecret}, Key: "url",
	}}}}}
}

func byFile(secret string) source {
	return source{
		environment: []corev1.EnvVar{{Name: "DATABASE_URL_FILE", Value: "/secret/url"}},
		mounts:      []corev1.VolumeMount{{Name: "secret", MountPath: "/secret", ReadOnly: true}},
		volumes:     []corev1.Volume{{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}},
	}
}

// loginService is a Deployment of one pod, of which there is one more during a rollout: a service that is never away.
func loginService(namespace, name string, from source) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	refused := corev1.EnvVar{Name: "REFUSED_USER", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: refusal}, Key: name, Optional: new(true),
	}}}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: new(intstr.FromInt32(0)), MaxSurge: new(intstr.FromInt32(1))}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					ServiceAccountName: "api", AutomountServiceAccountToken: new(false), Volumes: from.volumes,
					Containers: []corev1.Container{{
						Name: "app", Image: loginImage, ImagePullPolicy: corev1.PullNever, Env: append(from.environment, refused), VolumeMounts: from.mounts,
						ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
							Path: "/ready", Port: intstr.FromInt32(8080),
						}}},
					}},
				},
			},
		},
	}
}

// refuse makes new pods of a service exit when their login is user's.
func (s *six) refuse(t *testing.T, user string) {
	t.Helper()
	must(t, s.e.client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.e.namespace, Name: refusal}, Data: map[string]string{picky: user},
	}))
}

// relent takes back what refuse did.
func (s *six) relent(t *testing.T) {
	t.Helper()
	must(t, s.e.client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.e.namespace, Name: refusal}}))
}

// user is whose login the services have.
func (s *six) user(t *testing.T) string {
	t.Helper()
	all := s.credentials.all()
	if len(all) == 0 {
		t.Fatal("no credential was synced")
	}
	address, err := url.Parse(all[len(all)-1])
	if err != nil {
		t.Fatal("the address that was synced is no URL") // the error would show it
	}
	return address.User.Username()
}

// end takes the services away, and waits until every pod has told its counts.
func (s *six) end(t *testing.T) {
	t.Helper()
	for _, namespace := range []string{s.e.namespace, s.elsewhere} {
		must(t, s.e.client.DeleteAllOf(t.Context(), &appsv1.Deployment{}, client.InNamespace(namespace), client.PropagationPolicy(metav1.DeletePropagationBackground)))
	}
	eventually(t, "the pods of the services to end", func(context.Context) (bool, error) { return s.logins.allGone(), nil })
}

// credentials are the addresses, with user and password, that a Secret has held, the newest last.
type credentials struct {
	mu   sync.Mutex
	seen []string
}

func watchCredentials(t *testing.T, e *environment) *credentials {
	t.Helper()
	c := &credentials{}
	watch(t, e.informers(e.namespace).Core().V1().Secrets().Informer(), func(object any, gone bool) {
		if secret, ok := object.(*corev1.Secret); ok && secret.Name == rolledSecret && !gone {
			c.note(string(secret.Data["url"]))
		}
	})
	return c
}

// note takes note of an address. One that comes back after a rollback is the newest again.
func (c *credentials) note(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(slices.DeleteFunc(c.seen, func(s string) bool { return s == address }), address)
}

func (c *credentials) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

func (e *environment) informers(namespace string) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(e.clientset, 0, informers.WithNamespace(namespace))
}

// watch calls note with each state of each object until the test ends, and with the last one when the object is gone.
func watch(t *testing.T, informer toolscache.SharedIndexInformer, note func(object any, gone bool)) {
	t.Helper()
	_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { note(object, false) },
		UpdateFunc: func(_, object any) { note(object, false) },
		DeleteFunc: func(object any) {
			if missed, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = missed.Obj
			}
			note(object, true)
		},
	})
	must(t, err)
	go informer.RunWithContext(t.Context())
	if !toolscache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the objects were not listed")
	}
}
