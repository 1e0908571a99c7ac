package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/clustervaultsecret"
	"github.com/coffer-vault/coffer/controllers/vaultpolicy"
	"github.com/coffer-vault/coffer/controllers/vaultrotation"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/servercert"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/method"
)

// Names of the Secret and the ConfigMap of the self-managed certificate.
const (
	apiTLSSecret = "coffer-api-tls"
	caConfigMap  = "coffer-ca"
)

// readinessLimit bounds a readiness probe's question to the engine; it is below
// the probe's own timeout in config/manager.
const readinessLimit = 3 * time.Second

func setupControllers(mgr manager.Manager, engine *vault.Engine, c Config) error {
	// Until the policies of this cluster are known to be in force, a denial may be one
	// of another day, and takes no Secret away.
	var policiesInForce atomic.Bool
	if err := vaultsecret.Setup(mgr, vaultsecret.Options{
		Vault: engine, Changes: engine, Cluster: c.ClusterName, DefaultEnvironment: c.DefaultEnvironment,
		PoliciesInForce: policiesInForce.Load, Acknowledger: engine, Rotations: engine, Namespaces: c.WatchNamespaces,
	}); err != nil {
		return fmt.Errorf("prepare the VaultSecret controller: %w", err)
	}
	if !c.limited() { // these have to see all namespaces
		if err := setupClusterVaultSecrets(mgr); err != nil {
			return err
		}
		if err := setupVaultRotations(mgr, engine, c, policiesInForce.Load); err != nil {
			return err
		}
	}
	if err := vaultpolicy.Setup(mgr, vaultpolicy.Options{
		Engine: engine, Cluster: c.ClusterName, OnSync: func() { policiesInForce.Store(true) },
	}); err != nil {
		return fmt.Errorf("prepare the VaultPolicy controller: %w", err)
	}
	return fillCaches(mgr, engine, c)
}

// fillCaches has the caches of all that the controllers watch filled from the start, by
// replicas that do not lead too: a controller would only begin with those of its own when it
// is started, and wait for them then. Each wait is of a second, in which the API server has
// nothing to send but the end of the list (a watch that begins with a list ends that with a bookmark).
func fillCaches(mgr manager.Manager, engine *vault.Engine, c Config) error {
	kinds := slices.Collect(maps.Keys(vaultsecret.CacheByObject(engine)))
	kinds = append(kinds, &vaultv1alpha1.VaultPolicy{})
	if !c.limited() {
		kinds = append(kinds, &vaultv1alpha1.ClusterVaultSecret{}, &vaultv1alpha1.VaultRotation{})
	}
	for _, kind := range kinds {
		if _, err := mgr.GetCache().GetInformer(context.Background(), kind, cache.BlockUntilSynced(false)); err != nil { // it waits for nothing
			return fmt.Errorf("prepare the cache of %T: %w", kind, err)
		}
	}
	return nil
}

func setupClusterVaultSecrets(mgr manager.Manager) error {
	reconciler, err := clustervaultsecret.New(mgr)
	if err == nil {
		err = reconciler.Setup(mgr)
	}
	if err != nil {
		return fmt.Errorf("prepare the ClusterVaultSecret controller: %w", err)
	}
	return nil
}

func setupVaultRotations(mgr manager.Manager, engine *vault.Engine, c Config, policiesInForce func() bool) error {
	if err := vaultrotation.Setup(mgr, vaultrotation.Options{
		Engine: engine, CheckMethod: method.Methods{Limits: c.WebhookLimits}.Check, Cluster: c.ClusterName, DefaultEnvironment: c.DefaultEnvironment,
		PoliciesInForce: policiesInForce,
	}); err != nil {
		return fmt.Errorf("prepare the VaultRotation controller: %w", err)
	}
	return nil
}

func setupAPI(ctx context.Context, mgr manager.Manager, engine *vault.Engine, c Config, logger *slog.Logger) error {
	getCertificate, err := setupCertificate(ctx, mgr, c, logger)
	if err != nil {
		return err
	}
	known, err := openIssuers(c, logger)
	if err != nil {
		return err
	}
	listener, err := listenAPI(ctx, c.APIBindAddress)
	if err != nil {
		return err
	}
	authenticator := authn.New(authn.Options{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Audience: c.TokenAudience, Cluster: c.ClusterName, DefaultEnvironment: c.DefaultEnvironment,
		Namespaces: c.knownNamespaces(), Issuers: known,
	})
	ending := make(chan struct{})
	handler := server.New(server.Config{
		Vault: engine, Authenticator: authenticator, Logger: logger, Registerer: metrics.Registry, Ending: ending,
	})
	api := &apiServer{
		handler: handler, getCertificate: getCertificate, listener: listener, logger: logger, timeouts: apiTimeouts, drain: drainDelay, ending: ending,
	}
	if err := mgr.AddReadyzCheck("api", api.ready); err != nil {
		return err
	}
	return mgr.Add(api)
}

// openIssuers returns nil when no file is given.
func openIssuers(c Config, logger *slog.Logger) (*issuers.File, error) {
	if c.OIDCConfig == "" {
		return nil, nil
	}
	return issuers.Open(issuers.Options{File: c.OIDCConfig, Audience: c.TokenAudience, Logger: logger})
}

// setupCertificate returns the supplied certificate, reloaded when its files
// change, or the self-managed one.
func setupCertificate(ctx context.Context, mgr manager.Manager, c Config, logger *slog.Logger) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if c.APITLSDir != "" {
		watcher, err := certwatcher.New(filepath.Join(c.APITLSDir, servercert.CertKey), filepath.Join(c.APITLSDir, servercert.KeyKey))
		if err != nil {
			return nil, fmt.Errorf("read the API's certificate (--api-tls-dir): %w", err)
		}
		return watcher.GetCertificate, mgr.Add(watcher)
	}
	// The manager's own client reads through a cache that is not running yet, and
	// that need not hold this Secret.
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		return nil, err
	}
	source, err := servercert.New(ctx, servercert.Options{
		Namespace: c.Namespace, SecretName: apiTLSSecret, ConfigMapName: caConfigMap,
		Names:  servercert.ParseNames(apiHosts(c)),
		Client: direct, Now: time.Now, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	return source.GetCertificate, mgr.Add(source)
}

// apiHosts are the names by which clients reach the API: its Service's, those of
// a port-forward, and what the administrator adds.
func apiHosts(c Config) []string {
	service := c.APIService + "." + c.Namespace
	hosts := []string{service + ".svc", service + ".svc.cluster.local", service, "localhost", "127.0.0.1", "::1"}
	return append(hosts, c.APITLSSANs...)
}

func setupProbes(mgr manager.Manager, engine *vault.Engine) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("vault", func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), readinessLimit)
		defer cancel()
		return engine.Ready(ctx)
	})
}
