package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/coffer-vault/coffer/sdk"
)

// programPatience is far above what anything takes here: a certificate is looked at once
// a minute, and a refused token is believed for up to 20 s.
const programPatience = 3 * time.Minute

// watched is the path that a program follows.
const watched = "production/payments/database"

// awaits polls until check returns nil.
func awaits(t *testing.T, what string, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, programPatience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, errors.Join(err, last))
	}
}

// process is the manager, which can be started again at its address.
type process struct {
	config Config
	cancel context.CancelFunc
	ended  chan error
}

// startProcess runs the manager until the test ends.
func startProcess(t *testing.T, config Config) *process {
	t.Helper()
	before := metrics.Registry
	p := &process{config: config}
	p.start(t)
	t.Cleanup(func() {
		p.stop(t)
		metrics.Registry = before
	})
	return p
}

func (p *process) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	p.cancel, p.ended = cancel, ended
	go func() {
		for {
			metrics.Registry = prometheus.NewRegistry() // another Run of this process has its metrics registered
			err := Run(ctx, p.config)
			// While nobody listens the port may be that of somebody's outgoing connection.
			if !errors.Is(err, syscall.EADDRINUSE) || ctx.Err() != nil {
				ended <- err
				close(ended)
				return
			}
		}
	}()
}

// stop ends the manager and waits for it, unless that was done.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.cancel()
	if err := <-p.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// tokenFor issues a token for a service account. One that is bound to a Secret is good
// until that is deleted, as another is until it expires, which is not before ten minutes.
func tokenFor(t *testing.T, cluster client.Client, namespace, name string, bound *corev1.Secret) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"coffer"}}}
	if bound != nil {
		if err := cluster.Create(t.Context(), bound); err != nil {
			t.Fatal(err)
		}
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: bound.Name, UID: bound.UID}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := cluster.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// swap puts content into file at once, as the kubelet does.
func swap(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// program is what may run in a pod for weeks: a watch, a cache, and what follows a value,
// of the client and of the cache.
type program struct {
	*sdk.Client

	cache             *sdk.Cache
	tokenFile, caFile string

	mu       sync.Mutex
	stands   bool
	told     []int64 // versions, as the watch told of them
	breaks   int     // of the watch
	followed map[string][]int64
	ended    error
}

// newProgram begins to watch and to follow when the path is there, until the test ends.
func newProgram(t *testing.T, address, token, authority string) *program {
	t.Helper()
	dir := t.TempDir()
	p := &program{tokenFile: filepath.Join(dir, "token"), caFile: filepath.Join(dir, "ca.crt"), followed: map[string][]int64{}}
	swap(t, p.tokenFile, token)
	swap(t, p.caFile, authority)
	var err error
	if p.Client, err = sdk.New(sdk.Config{Address: address, TokenFile: p.tokenFile, CACert: p.caFile}); err != nil {
		t.Fatal(err)
	}
	p.cache = sdk.NewCache(p.Client, sdk.CacheConfig{Prefix: "production/payments/", MaxAge: 500 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		work.Wait()
		p.cache.Close()
	})
	work.Go(func() { p.watch(ctx) })
	work.Go(func() {
		for found, err := range p.Follow(ctx, watched) {
			p.follows("client", found, err)
		}
	})
	work.Go(func() {
		for found, err := range p.cache.Follow(ctx, watched) {
			p.follows("cache", found, err)
		}
	})
	awaits(t, "the watch to stand", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.stands {
			return errors.New("it does not")
		}
		return p.ended
	})
	return p
}

func (p *program) watch(ctx context.Context) {
	options := sdk.WatchOptions{Paths: []string{watched}, Retrying: func(error, time.Duration) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.breaks++
	}}
	for event, err := range p.Watch(ctx, options) {
		p.mu.Lock()
		switch {
		case err != nil:
			p.ended = fmt.Errorf("the watch ended: %w", err)
		case event.Kind == sdk.EventReset:
			p.ended = errors.New("the watch began anew")
		case event.Kind == sdk.EventPosition:
			p.stands = true
		case event.Path == watched:
			p.told = append(p.told, event.Version)
		}
		p.mu.Unlock()
	}
}

func (p *program) follows(who string, found sdk.CachedSecret, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.ended = fmt.Errorf("what the %s followed ended: %w", who, err)
		return
	}
	if found.Text() != valueOf(found.Version) {
		p.ended = fmt.Errorf("the %s followed version %d, which has another value", who, found.Version)
	}
	p.followed[who] = append(p.followed[who], found.Version)
}

// valueOf is the value of a version in these tests.
func valueOf(version int64) string { return fmt.Sprintf("value %d", version) }

// interruptions is how often the watch broke.
func (p *program) interruptions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.breaks
}

// has waits until the program has version in every way there is, and was told of each
// version since 2 once and in order.
func (p *program) has(t *testing.T, version int64) {
	t.Helper()
	awaits(t, fmt.Sprintf("version %d to arrive", version), func() error {
		read, err := p.Get(t.Context(), watched)
		if err != nil || read.Text() != valueOf(version) {
			return fmt.Errorf("Get gives version %d, %w", read.Version, err)
		}
		cached, err := p.cache.Get(t.Context(), watched)
		if err != nil || cached.Stale() || cached.Text() != valueOf(version) {
			return fmt.Errorf("the cache gives version %d, %w, %w", cached.Version, err, cached.Outage)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.ended != nil {
			t.Fatal(p.ended)
		}
		var want []int64
		for v := int64(2); v <= version; v++ {
			want = append(want, v)
		}
		if len(p.told) >= len(want) && !slices.Equal(p.told, want) {
			t.Fatalf("the watch told of the versions %v, want each once", p.told)
		}
		if len(p.told) < len(want) {
			return fmt.Errorf("the watch told of %v", p.told)
		}
		for who, versions := range p.followed {
			if !slices.IsSorted(versions) || len(slices.Compact(slices.Clone(versions))) != len(versions) {
				t.Fatalf("the %s followed %v, want no version twice", who, versions)
			}
			if versions[len(versions)-1] != version {
				return fmt.Errorf("the %s followed %v", who, versions)
			}
		}
		if len(p.followed) != 2 {
			return errors.New("nothing was followed yet")
		}
		return nil
	})
}

// isAway waits until the program knows that it cannot read for now: a read fails with the
// code, and the cache gives the version that it had, and says that it is stale and why.
func (p *program) isAway(t *testing.T, code sdk.Code, version int64) {
	t.Helper()
	awaits(t, "staleness to be said", func() error {
		cached, err := p.cache.Get(t.Context(), watched)
		if err != nil || cached.Text() != valueOf(version) {
			t.Fatalf("the cache gives version %d, %v; want version %d", cached.Version, err, version)
		}
		if !cached.Stale() || sdk.CodeOf(cached.Outage) != code || cached.Age() <= 0 {
			return fmt.Errorf("stale: %v, %w", cached.Stale(), cached.Outage)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := p.Get(ctx, watched); sdk.CodeOf(err) != code {
			return fmt.Errorf("reading: %w", err)
		}
		return nil
	})
}

// isRefused waits until the program knows that its token is refused, and has no value any
// more: that is no outage.
func (p *program) isRefused(t *testing.T) {
	t.Helper()
	awaits(t, "the refusal to be said", func() error {
		if _, err := p.cache.Get(t.Context(), watched); sdk.CodeOf(err) != sdk.CodeUnauthenticated {
			return fmt.Errorf("the cache: %w", err)
		}
		if _, err := p.Get(t.Context(), watched); sdk.CodeOf(err) != sdk.CodeUnauthenticated {
			return fmt.Errorf("reading: %w", err)
		}
		return nil
	})
}

// rotatePath writes the next version of the path, as an administrator does.
func rotatePath(t *testing.T, admin *sdk.Client, version int64) {
	t.Helper()
	awaits(t, "the rotation to be written", func() error {
		_, err := admin.Rotate(t.Context(), watched, sdk.PutRequest{
			Value: []byte(valueOf(version)), ExpectedVersion: new(version - 1), IdempotencyKey: fmt.Sprint("rotation ", version),
		})
		return err
	})
}

// firstVersion writes the path, for payments/api to read.
func firstVersion(t *testing.T, admin *sdk.Client) {
	t.Helper()
	awaits(t, "the administrator's policy to be in force", func() error {
		_, err := admin.Put(t.Context(), watched, sdk.PutRequest{
			Value: []byte(valueOf(1)), ExpectedVersion: new(int64(0)), IdempotencyKey: "first",
			Access: &sdk.AccessPolicy{AllowedServices: []string{tenant + "/api"}, AllowedEnvironments: []string{"production"}},
		})
		return err
	})
}

// shows is the certificate that the server at address shows, whoever signed it.
func shows(t *testing.T, address string) *x509.Certificate {
	t.Helper()
	var leaf *x509.Certificate
	awaits(t, "the server to show a certificate", func() error {
		dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}}
		conn, err := dialer.DialContext(t.Context(), "tcp", address)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		leaf = conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		return nil
	})
	return leaf
}
