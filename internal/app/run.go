package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/capublisher"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/address"
)

// Run is the manager: it opens the engine, then reconciles (as leader) and
// serves the API (always) until ctx ends.
func Run(ctx context.Context, c Config) error {
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	ctrl.SetLogger(logr.FromSlogHandler(logger.Handler()))

	if err := errors.Join(forbidCoreDumps(), StartWithLists()); err != nil {
		return err
	}
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w; run in a pod, or set --kubeconfig or KUBECONFIG", err)
	}
	direct, err := client.New(restConfig, client.Options{Scheme: newScheme()})
	if err != nil {
		return fmt.Errorf("prepare a client of the cluster: %w", err)
	}
	if err := limitTo(ctx, direct, &c, logger, metrics.Registry); err != nil {
		return err
	}
	heads, err := NewAuditHeads(restConfig, c.Namespace)
	if err != nil {
		return err
	}
	engine, closeEngine, err := openConfigured(ctx, c, heads, logger)
	if err != nil {
		return err
	}
	defer closeEngine()

	mgr, err := newManager(restConfig, engine, c)
	if err != nil {
		return err
	}
	if err := setupControllers(mgr, engine, c); err != nil {
		return err
	}
	if err := setupAPI(ctx, mgr, engine, c, logger); err != nil {
		return err
	}
	if err := setupRotations(mgr, engine, c, logger); err != nil {
		return err
	}
	if err := setupOverdueCount(mgr, engine, logger); err != nil {
		return err
	}
	if err := setupProbes(mgr, engine); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func openConfigured(ctx context.Context, c Config, heads vault.HeadsExporter, logger *slog.Logger) (*vault.Engine, func(), error) {
	database := address.Source{URL: c.DatabaseURL, Files: c.DatabaseFiles}
	if _, err := database.Read(); err != nil {
		return nil, nil, fmt.Errorf("find Postgres: %w; put its URL into the file that --database-url-file names", err)
	}
	owner, err := optional(address.Source{URL: c.OwnerURL, Files: c.OwnerFiles})
	if err != nil {
		return nil, nil, fmt.Errorf("find Postgres as the owner of the tables: %w", err)
	}
	redis, err := optional(address.Source{URL: c.RedisURL, Files: c.RedisFiles})
	if err != nil {
		return nil, nil, fmt.Errorf("find Redis: %w", err)
	}
	if redis.IsZero() {
		logger.InfoContext(ctx, "no Redis URL: the vault works without Redis, and changes are found by polling the database")
	}
	root, closeRoot, err := openRoot(c)
	if err != nil {
		return nil, nil, err
	}
	var tail io.Writer
	if c.AuditLog == auditStdout {
		tail = os.Stdout
	}
	engine, closeEngine, err := openWhenThere(ctx, c.HealthProbeBindAddress, logger, func(ctx context.Context) (*vault.Engine, func(), error) {
		return OpenEngine(ctx, EngineConfig{
			DatabaseURL: database.URL, DatabaseFiles: database.Files, RedisURL: redis.URL, RedisFiles: redis.Files, Root: root, CacheBytes: uint64(c.CacheSize.Value()),
			Logger: logger, Registerer: metrics.Registry, AuditHeads: heads, Owner: owner, AuditRetentionMonths: c.AuditRetentionMonths,
			AuditTail: tail, ReaderWindow: c.ReaderWindow, Notify: c.NotificationsConfig != "",
		})
	})
	if err != nil {
		closeRoot()
		return nil, nil, err
	}
	return engine, func() { closeEngine(); closeRoot() }, nil
}

// optional returns a source without an address when there is no URL.
func optional(s address.Source) (address.Source, error) {
	_, err := address.Source{URL: s.URL, Files: address.Files{URL: s.Files.URL}}.Read()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, address.ErrEmpty) {
		return address.Source{}, nil
	}
	return s, err
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(vaultv1alpha1.AddToScheme(scheme))
	return scheme
}

func cacheOptions(engine *vault.Engine, c Config) cache.Options {
	options := cache.Options{ByObject: vaultsecret.CacheByObject(engine), DefaultTransform: vaultsecret.CacheTransform}
	maps.Copy(options.ByObject, capublisher.CacheByObject(c.knownNamespaces()))
	if c.limited() {
		options.DefaultNamespaces = map[string]cache.Config{}
		for _, name := range c.WatchNamespaces {
			options.DefaultNamespaces[name] = cache.Config{}
		}
		options.NewInformer = namedNamespaces(c.knownNamespaces())
	}
	return options
}

func newManager(restConfig *rest.Config, engine *vault.Engine, c Config) (manager.Manager, error) {
	// API priority and fairness in the API server shares it out; a client-side
	// limit would only slow the first sync of many objects.
	restConfig.QPS = -1
	mgr, err := ctrl.NewManager(restConfig, manager.Options{
		Scheme:                        newScheme(),
		Cache:                         cacheOptions(engine, c),
		Controller:                    config.Controller{SkipNameValidation: new(true)}, // tests run several managers in one process
		Metrics:                       metricsserver.Options{BindAddress: c.MetricsBindAddress},
		HealthProbeBindAddress:        c.HealthProbeBindAddress,
		LeaderElection:                c.LeaderElect,
		LeaderElectionID:              c.LeaderElectionID,
		LeaderElectionNamespace:       c.Namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the operator: %w", err)
	}
	return mgr, nil
}
