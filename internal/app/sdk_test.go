package app

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/controllers/capublisher"
	"github.com/coffer-vault/coffer/internal/servercert"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/authority"
	"github.com/coffer-vault/coffer/internal/vault/address"
	"github.com/coffer-vault/coffer/sdk"
)

// forgottenPatience is above the 15 s after which a connection without an answer is given up.
const forgottenPatience = 25 * time.Second

// TestTheSDKGoesOn: a program stays the same while the server is restarted, its token is
// refused and replaced, the authority and certificate of the server are replaced,
// Postgres is away, and the network forgets its connections. It says so while it does not know what is current, and then has the
// newest value, and was told of each rotation once.
func TestTheSDKGoesOn(t *testing.T) {
	cluster := startCluster(t)
	host := freeAddress(t)
	config := testConfig(t, host)
	database, through := testkit.Proxy(t, config.DatabaseURL)
	config.DatabaseURL = through
	manager := startProcess(t, config)
	admin := newAPIClient(t, cluster, host)
	firstVersion(t, admin)
	bound := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "binds-the-token"}}
	network, address := testkit.Proxy(t, "https://"+host)
	p := newProgram(t, address, tokenFor(t, cluster, tenant, "api", bound), published(t, cluster))
	version := int64(1)
	rotates := func() {
		t.Helper()
		version++
		rotatePath(t, admin, version)
	}
	rotates()
	p.has(t, version)

	t.Log("restarts")
	for range 2 {
		manager.stop(t)
		p.isAway(t, sdk.CodeUnavailable, version)
		manager.start(t)
		rotates()
		p.has(t, version)
	}

	t.Log("the token expires, and its file is replaced late")
	if err := cluster.Delete(t.Context(), bound); err != nil {
		t.Fatal(err)
	}
	p.isRefused(t)
	rotates()
	swap(t, p.tokenFile, tokenFor(t, cluster, tenant, "api", nil))
	p.has(t, version)

	t.Log("the authority is another one, and its file is replaced late")
	before, old := shows(t, host), published(t, cluster)
	if err := cluster.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: apiTLSSecret}}); err != nil {
		t.Fatal(err)
	}
	awaits(t, "another certificate of another authority", func() error {
		if shows(t, host).Equal(before) || published(t, cluster) == old {
			return errors.New("it is the one of before")
		}
		return nil
	})
	admin = newAPIClient(t, cluster, host)
	rotates()
	p.has(t, version) // over the connection that stands
	manager.stop(t)
	manager.start(t)
	p.isAway(t, sdk.CodeUnavailable, version)
	rotates()
	p.isAway(t, sdk.CodeUnavailable, version-1)
	swap(t, p.caFile, published(t, cluster))
	p.has(t, version)

	t.Log("Postgres is away")
	database.Refuse()
	p.isAway(t, sdk.CodeUnavailable, version)
	database.Heal()
	rotates()
	p.has(t, version)

	t.Log("the network forgets the connections")
	network.Strand()
	rotates()
	forgotten := time.Now()
	if _, err := p.Get(t.Context(), watched); err != nil {
		t.Errorf("a read over a dead connection is not sent again over another: %v", err)
	}
	p.has(t, version)
	if took := time.Since(forgotten); took > forgottenPatience {
		t.Errorf("requests went onto a dead connection for %v", took)
	}
}

// published is the authority that pods are to trust.
func published(t *testing.T, cluster client.Client) string {
	t.Helper()
	var found corev1.ConfigMap
	awaits(t, "the authority to be published", func() error {
		return cluster.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: capublisher.ConfigMapName}, &found)
	})
	return found.Data[servercert.CACertKey]
}

// TestFilesAreReloadedUnderAWatch: the password of the database's role and the supplied
// certificate change, and a watch that stands goes on without a break.
func TestFilesAreReloadedUnderAWatch(t *testing.T) {
	cluster := startCluster(t)
	host := freeAddress(t)
	config := testConfig(t, host)
	roles := testkit.PostgresRoles(t)
	dir := t.TempDir()
	config.DatabaseURL, config.DatabaseFiles, config.OwnerURL = "", address.Files{URL: filepath.Join(dir, "url")}, roles.Owner
	swap(t, config.DatabaseFiles.URL, roles.Ordinary)
	first, second := authority.New(t, "first"), authority.New(t, "second")
	config.APITLSDir = dir
	certify := func(pair authority.Pair) {
		swap(t, filepath.Join(dir, servercert.CertKey), string(pair.Cert)) // for a moment with the key of before
		swap(t, filepath.Join(dir, servercert.KeyKey), string(pair.Key))
	}
	certify(first.Server(t))
	startProcess(t, config)
	token := tokenFor(t, cluster, testNamespace, "admin", nil)
	admin := clientTrusting(t, host, token, first)
	firstVersion(t, admin)
	p := newProgram(t, "https://"+host, tokenFor(t, cluster, tenant, "api", nil), string(first.PEM))
	rotatePath(t, admin, 2)
	p.has(t, 2)

	superuser, err := pgx.Connect(t.Context(), roles.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = superuser.Close(t.Context()) }()
	if _, err := superuser.Exec(t.Context(), "ALTER ROLE "+pgx.Identifier{roles.OrdinaryName}.Sanitize()+" PASSWORD 'another'"); err != nil {
		t.Fatal(err)
	}
	changed := time.Now() // no session of a later time has the former password
	dsn, err := url.Parse(roles.Ordinary)
	if err != nil {
		t.Fatal("the role's address is no URL")
	}
	dsn.User = url.UserPassword(roles.OrdinaryName, "another")
	swap(t, config.DatabaseFiles.URL, dsn.String())
	awaits(t, "sessions with the new password only", func() error {
		var older, all int
		err := superuser.QueryRow(t.Context(),
			`SELECT count(*) FILTER (WHERE backend_start < $2), count(*) FROM pg_stat_activity WHERE usename = $1`, roles.OrdinaryName, changed).Scan(&older, &all)
		if err != nil || older > 0 || all == 0 {
			return fmt.Errorf("%d of %d sessions are of before, %w", older, all, err)
		}
		return nil
	})
	rotatePath(t, admin, 3)
	p.has(t, 3)

	before := shows(t, host)
	certify(second.Server(t))
	awaits(t, "the new certificate", func() error {
		if shows(t, host).Equal(before) {
			return errors.New("it is the one of before")
		}
		return nil
	})
	rotatePath(t, admin, 4)
	p.has(t, 4)
	if n := p.interruptions(); n > 0 {
		t.Errorf("the watch broke %d times", n)
	}
	if read, err := clientTrusting(t, host, token, second).Get(t.Context(), watched); err != nil || read.Text() != valueOf(4) {
		t.Errorf("who trusts the new authority reads version %d, %v", read.Version, err)
	}
	if _, err := clientTrusting(t, host, token, first).Get(t.Context(), watched); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("who trusts the former authority: %v", err)
	}
}

// clientTrusting is a client that trusts what the authority signed.
func clientTrusting(t *testing.T, host, token string, by *authority.Authority) *sdk.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	swap(t, file, string(by.PEM))
	c, err := sdk.New(sdk.Config{Address: "https://" + host, Token: token, CACert: file})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
