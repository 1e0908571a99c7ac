package main

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/app"
)

// Names by which the program starts itself again.
const (
	asManager = "manager" // the manager of a pod, with its flags behind
	asCaches  = "caches"  // its caches of objects, and nothing else
)

// asChild is the program as it starts itself, until its standard input ends, which names
// the files that its profiles go to.
func asChild(ctx context.Context, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		if err := new(profiler).obey(os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "profile:", err)
		}
	}()
	if args[0] == asCaches {
		return runCaches(ctx)
	}
	config, err := app.ParseConfig(args[1:], os.Getenv, os.Stderr)
	if err != nil {
		return err
	}
	return app.Run(ctx, config)
}

// checksums are of the length of the engine's.
type checksums struct{}

// Fingerprint implements vaultsecret.Fingerprinter.
func (checksums) Fingerprint(domain string, data ...[]byte) string {
	mac := hmac.New(sha256.New, []byte(domain))
	for _, part := range data {
		mac.Write(part)
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// runCaches fills the caches that the operator has, stripped to what it uses, and says so
// on standard output.
func runCaches(ctx context.Context) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.QPS = -1
	if err := app.StartWithLists(); err != nil {
		return err
	}
	objects, err := cache.New(config, cache.Options{
		Scheme: newScheme(), ByObject: vaultsecret.CacheByObject(checksums{}), DefaultTransform: vaultsecret.CacheTransform,
	})
	if err != nil {
		return err
	}
	partial := func(kind string) client.Object {
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
		return object
	}
	for _, object := range []client.Object{
		&vaultv1alpha1.VaultSecret{}, &vaultv1alpha1.VaultPolicy{}, &corev1.Secret{}, partial("ServiceAccount"), partial("Namespace"),
		&appsv1.Deployment{}, &appsv1.StatefulSet{}, &appsv1.DaemonSet{},
	} {
		if _, err := objects.GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
			return err
		}
	}
	failed := make(chan error, 1)
	go func() { failed <- objects.Start(ctx) }()
	if !objects.WaitForCacheSync(ctx) {
		return <-failed
	}
	if _, err := os.Stdout.WriteString("synced\n"); err != nil {
		return err
	}
	return <-failed
}

// child is the program, started by itself.
type child struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	log     string // a file
	done    chan struct{}
	err     error // set before done is closed
}

// start starts the program as args say. It ends when it is stopped, and with ours.
func start(dir string, environment []string, args ...string) (_ *child, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{command: exec.CommandContext(context.Background(), program, args...), log: filepath.Join(dir, args[0]+".log"), done: make(chan struct{})}
	c.command.Env = append(os.Environ(), environment...)
	if c.stdin, err = c.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdout = bufio.NewReader(out)
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	c.command.Stderr = log
	if err := c.command.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		defer close(c.done)
		c.err = errors.Join(c.command.Wait(), log.Close())
	}()
	return c, nil
}

// profileTo has the program write its profiles to files whose names begin with prefix from
// now on, or no more when that is empty.
func (c *child) profileTo(prefix string) error {
	_, err := io.WriteString(c.stdin, prefix+"\n")
	return err
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// stop ends the program in order and waits for it.
func (c *child) stop() error {
	_ = c.stdin.Close()
	select {
	case <-c.done:
		return c.failure()
	case <-time.After(time.Minute):
		return errors.Join(errors.New("it did not end within a minute"), c.command.Process.Kill())
	}
}

// failure is why a program that has ended did so, with the end of its log.
func (c *child) failure() error {
	if c.err == nil {
		return nil
	}
	text, err := os.ReadFile(c.log)
	if err != nil {
		return errors.Join(c.err, err)
	}
	return fmt.Errorf("%s: %w; its log ends:\n%s", c.command.Args[1], c.err, text[max(0, len(text)-2048):])
}

// guard is a context that ends, with a reason, when the program ends by itself.
func (c *child) guard(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.done:
			cancel(errors.Join(errors.New("it ended by itself"), c.failure()))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// processor is the processor time that the program has used.
func (c *child) processor() (time.Duration, error) {
	stat, err := c.stat()
	return time.Duration(stat.CPUTime() * float64(time.Second)), err
}

// resident is the memory of the program, in bytes.
func (c *child) resident() (float64, error) {
	stat, err := c.stat()
	return float64(stat.ResidentMemory()), err
}

func (c *child) stat() (procfs.ProcStat, error) {
	process, err := procfs.NewProc(c.command.Process.Pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return process.Stat()
}

// managerProcess is a manager as a pod runs it, with default settings.
type managerProcess struct {
	*child
	metrics string // a URL
	http    http.Client
}

func (b *operatorBench) startManager(ctx context.Context) (*managerProcess, error) {
	api, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	metrics, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	c, err := start(b.dir, []string{
		"KUBECONFIG=" + b.plane.kubeconfig, "POD_NAMESPACE=" + installation,
		"COFFER_DATABASE_URL=" + b.dsn, "COFFER_REDIS_URL=" + b.redisURL,
	}, asManager, "--root-key-file="+filepath.Join(b.dir, "root-key"), "--api-bind-address="+api, "--metrics-bind-address="+metrics, "--health-probe-bind-address=0")
	if err != nil {
		return nil, err
	}
	if b.profiled != "" {
		err = c.profileTo(b.profiled)
	}
	// Packing its metrics would take the manager longer than it works.
	plain := http.Client{Transport: &http.Transport{DisableCompression: true}}
	return &managerProcess{child: c, metrics: "http://" + metrics + "/metrics", http: plain}, err
}

// count sums the series of a metric that have these labels; a program that does not
// answer yet has counted nothing.
func (m *managerProcess) count(ctx context.Context, name string, labels map[string]string) (sum float64, err error) {
	err = scrape(ctx, &m.http, m.metrics, name, func(got map[string]string, value float64) {
		for label, want := range labels {
			if got[label] != want {
				return
			}
		}
		sum += value
	})
	if _, refused := errors.AsType[*net.OpError](err); refused {
		return 0, nil
	}
	return sum, err
}

// until polls a count until it is so much.
func (m *managerProcess) until(ctx context.Context, least float64, name string, labels map[string]string) error {
	ctx, stop := m.guard(ctx)
	defer stop()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		n, err := m.count(ctx, name, labels)
		if err != nil || n >= least {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
