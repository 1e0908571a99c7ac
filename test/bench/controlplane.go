package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
)

// floorWorkers are those of the plain client.
const floorWorkers = 20

// controlPlane is a kube-apiserver of the benchmark's own.
type controlPlane struct {
	server     *kube.Server
	client     client.WithWatch
	http       *http.Client
	kubeconfig string // a file
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(vaultv1alpha1.AddToScheme(scheme))
	return scheme
}

// startControlPlane starts one with the CRDs of the checkout in which it runs.
func startControlPlane(dir string) (_ *controlPlane, err error) {
	p := &controlPlane{kubeconfig: filepath.Join(dir, "kubeconfig")}
	if p.server, err = kube.Start("config/crd/bases"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.server.Stop())
		}
	}()
	if err := os.WriteFile(p.kubeconfig, p.server.KubeConfig(), 0o600); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(p.server.Config())
	config.QPS = -1 // as the manager
	if p.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, err
	}
	p.client, err = client.NewWithWatch(config, client.Options{Scheme: newScheme()})
	return p, err
}

// asked is a kind of request to an API server.
type asked struct{ verb, resource, subresource string }

// requests are those that the API server has counted, by kind, whoever asked.
func (p *controlPlane) requests(ctx context.Context) (map[asked]float64, error) {
	counted := map[asked]float64{}
	err := scrape(ctx, p.http, strings.TrimSuffix(p.server.Config().Host, "/")+"/metrics", "apiserver_request_total", func(labels map[string]string, value float64) {
		counted[asked{labels["verb"], labels["resource"], labels["subresource"]}] += value
	})
	return counted, err
}

// scrape calls f for each series of a counter or a gauge, and for the count of each
// histogram, of that name.
func scrape(ctx context.Context, client *http.Client, url, name string, f func(labels map[string]string, value float64)) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return fmt.Errorf("read the metrics of %s: %w", url, err)
	}
	for _, metric := range families[name].GetMetric() {
		labels := map[string]string{}
		for _, pair := range metric.GetLabel() {
			labels[pair.GetName()] = pair.GetValue()
		}
		f(labels, metric.GetCounter().GetValue()+metric.GetGauge().GetValue()+float64(metric.GetHistogram().GetSampleCount()))
	}
	return nil
}

// operated are the resources that the operator works on. The API server itself, which
// counts its own requests too, has others.
var operated = map[string]bool{
	"secrets": true, "vaultsecrets": true, "vaultpolicies": true, "events": true,
	"deployments": true, "statefulsets": true, "daemonsets": true, "namespaces": true, "serviceaccounts": true,
}

var writing = map[string]bool{"POST": true, "PUT": true, "PATCH": true, "APPLY": true, "DELETE": true, "DELETECOLLECTION": true}

// since counts the requests about what the operator works on that came after before: the
// writes, and all but watches, which only say that somebody is still there.
func since(before, now map[asked]float64) (writes, all float64) {
	for kind, n := range now {
		if !operated[kind.resource] || kind.verb == "WATCH" {
			continue
		}
		all += n - before[kind]
		if writing[kind.verb] {
			writes += n - before[kind]
		}
	}
	return writes, all
}

// together calls f for 0 to n-1 by so many workers.
func together(ctx context.Context, workers, n int, f func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// tenants are the namespaces that the objects are spread over.
const tenants = 10

// makeTenants makes namespaces prefix-0 and on, each with the service account api.
func (p *controlPlane) makeTenants(ctx context.Context, prefix string) error {
	return together(ctx, floorWorkers, tenants, func(ctx context.Context, i int) error {
		name := fmt.Sprintf("%s-%d", prefix, i)
		err := p.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{vaultv1alpha1.EnvironmentLabel: "production"},
		}})
		if err != nil {
			return err
		}
		return p.client.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "api"}})
	})
}

// clear deletes the VaultSecrets and Secrets of the namespaces of prefix.
func (p *controlPlane) clear(ctx context.Context, prefix string) error {
	return together(ctx, floorWorkers, tenants, func(ctx context.Context, i int) error {
		namespace := client.InNamespace(fmt.Sprintf("%s-%d", prefix, i))
		return errors.Join(p.client.DeleteAllOf(ctx, &vaultv1alpha1.VaultSecret{}, namespace), p.client.DeleteAllOf(ctx, &corev1.Secret{}, namespace))
	})
}
