package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/method"
	"github.com/coffer-vault/coffer/sdk"
)

const (
	rotatedPath, rotatorPath = "production/shop/database", "platform/rotators/shop"
	// elsewhere is the cluster in which the rotation is defined: no operator replaces the rotations of that one.
	elsewhere = "elsewhere"
)

// shop is a database with the role that is rotated, and the one that rotates it.
type shop struct {
	dsn         *url.URL
	role, admin string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	dsn, err := url.Parse(testkit.Postgres(t))
	if err != nil {
		t.Fatal("the database's address is no URL")
	}
	name := strings.TrimPrefix(dsn.Path, "/")
	s := &shop{dsn: dsn, role: name + "_app", admin: name + "_rotator"}
	super, err := pgx.Connect(t.Context(), dsn.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, role := range []string{s.role, s.admin} {
			_, _ = super.Exec(context.Background(), "DROP ROLE "+pgx.Identifier{role}.Sanitize())
		}
		_ = super.Close(context.Background())
	})
	for role, rights := range map[string]string{s.role: "LOGIN PASSWORD 'the-first'", s.admin: "LOGIN CREATEROLE PASSWORD 'of the rotator'"} {
		if _, err := super.Exec(t.Context(), "CREATE ROLE "+pgx.Identifier{role}.Sanitize()+" "+rights); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// login is a secret's value.
func login(user, password string) []byte {
	text, _ := json.Marshal(map[string]string{"username": user, "password": password})
	return text
}

// settings are those of a rotation of the role.
func (s *shop) settings(t *testing.T) json.RawMessage {
	t.Helper()
	port, err := strconv.Atoi(s.dsn.Port())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{
		"credential": rotatorPath, "host": s.dsn.Hostname(), "port": port, "database": strings.TrimPrefix(s.dsn.Path, "/"), "role": s.role,
		"tls": map[string]bool{"disabled": true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// logsIn is nil when the role gets in with password.
func (s *shop) logsIn(ctx context.Context, password string) error {
	dsn := *s.dsn
	dsn.User = url.UserPassword(s.role, password)
	conn, err := pgx.Connect(ctx, dsn.String())
	if err != nil {
		return errors.New("the login is refused")
	}
	return conn.Close(ctx)
}

// define defines the rotation, and lets its service account do it.
func (s *shop) define(t *testing.T, config Config) {
	t.Helper()
	root, closeRoot, err := openRoot(config)
	if err != nil {
		t.Fatal(err)
	}
	defer closeRoot()
	engine, closeEngine, err := OpenEngine(t.Context(), EngineConfig{
		DatabaseURL: config.DatabaseURL, RedisURL: config.RedisURL, Root: root, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine()
	paths := make([]policy.Pattern, 2)
	for i, text := range []string{rotatedPath, rotatorPath} {
		if paths[i], err = policy.ParsePattern(text); err != nil {
			t.Fatal(err)
		}
	}
	allowed, err := policy.New("rotators", []policy.Rule{{
		Effect: policy.Allow, Paths: paths, Capabilities: []policy.Capability{policy.Read, policy.Rotate},
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: tenant, Name: "rotator"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.ReplacePolicies(t.Context(), elsewhere, []policy.Policy{allowed}); err != nil {
		t.Fatal(err)
	}
	_, err = engine.ReplaceRotations(t.Context(), elsewhere, []rotation.Definition{{
		Name: "shop", As: rotation.Identity{Namespace: tenant, ServiceAccount: "rotator"},
		Spec: rotation.Spec{
			Path: rotatedPath, Method: rotation.Method{Kind: method.Postgres, Settings: s.settings(t)},
			Consumed: rotation.Consumed{Grace: new(model.Duration(0))},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// synced is the password in the native Secret.
func synced(ctx context.Context, cluster client.Client) (string, error) {
	var found corev1.Secret
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: tenant, Name: "shop"}, &found); err != nil {
		return "", err
	}
	return string(found.Data["password"]), nil
}

// TestTheManagerRotates a role of PostgreSQL, of which a VaultSecret is the consumer: the manager brings the rotation to its end, says so over
// the API, and what the native Secret has then is the only password that logs in.
func TestTheManagerRotates(t *testing.T) {
	cluster := startCluster(t)
	host := freeAddress(t)
	config := testConfig(t, host)
	shop := newShop(t)
	startProcess(t, config)
	admin := newAPIClient(t, cluster, host)
	awaits(t, "the administrator's policy to be in force", func() error {
		_, err := admin.Put(t.Context(), rotatorPath, sdk.PutRequest{Value: login(shop.admin, "of the rotator")})
		return err
	})
	if _, err := admin.Put(t.Context(), rotatedPath, sdk.PutRequest{
		Value: login(shop.role, "the-first"), Access: &sdk.AccessPolicy{AllowedServices: []string{tenant + "/api"}, AllowedEnvironments: []string{"production"}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Create(t.Context(), &vaultv1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "shop"},
		Spec:       vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: rotatedPath},
	}); err != nil {
		t.Fatal(err)
	}
	awaits(t, "the consumer to be known", func() error {
		found, err := admin.Consumers(t.Context(), rotatedPath)
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("there are %d", len(found))
		}
		return err
	})
	shop.define(t, config)
	run, err := admin.RunRotation(t.Context(), rotatedPath, sdk.RunRotationRequest{})
	if err != nil {
		t.Fatal(err)
	}
	awaits(t, "the rotation to be done", func() error {
		shown, err := admin.DefinedRotations(t.Context(), "production/")
		if err != nil || len(shown) != 1 || len(shown[0].Runs) != 1 {
			return fmt.Errorf("%d rotations are shown, %w", len(shown), err)
		}
		r := shown[0].Runs[0]
		if r.Ended && r.State != "done" {
			t.Fatalf("it is %s: %s", r.State, r.Reason)
		}
		if r.ID != run.ID || r.State != "done" || r.Consumers != 1 || r.Moved != 1 {
			return fmt.Errorf("it is %s, with %d of %d consumers: %s %s", r.State, r.Moved, r.Consumers, r.WaitsFor, r.Problem)
		}
		return nil
	})
	password, err := synced(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	if err := shop.logsIn(t.Context(), password); err != nil {
		t.Errorf("with the password of the Secret: %v", err)
	}
	if err := shop.logsIn(t.Context(), "the-first"); err == nil {
		t.Error("the former password is accepted still")
	}
}
