package servercert

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// supply writes a certificate of an authority of its own into dir, valid from then on, and
// returns the authority.
func supply(t *testing.T, dir string, then time.Time) []byte {
	t.Helper()
	b, _, err := bundle{}.renew(names, then)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{CertKey: b.cert, KeyKey: b.key, CACertKey: b.caCert} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return b.caCert
}

// TestSuppliedAuthorityIsPublished as the folder has it, with what is Coffer's taken away when the folder has none.
func TestSuppliedAuthorityIsPublished(t *testing.T) {
	opts := testOptions(t, "supplied")
	dir := t.TempDir()
	s := &SuppliedAuthority{Dir: dir, Namespace: opts.Namespace, ConfigMapName: opts.ConfigMapName, Client: opts.Client, Logger: slog.New(slog.DiscardHandler)}
	published := func() string {
		t.Helper()
		var found corev1.ConfigMap
		err := opts.Client.Get(t.Context(), client.ObjectKey{Namespace: s.Namespace, Name: s.ConfigMapName}, &found)
		if apierrors.IsNotFound(err) {
			return "none"
		}
		if err != nil {
			t.Fatal(err)
		}
		return found.Data[CACertKey]
	}
	refresh := func(what, want string) {
		t.Helper()
		if err := s.refresh(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := published(); got != want {
			t.Errorf("%s: published is %q, want %q", what, got, want)
		}
	}
	// A certificate that managed itself before.
	if _, err := New(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	first := supply(t, dir, time.Now())
	refresh("the first", string(first))
	second := supply(t, dir, time.Now().Add(-2*Lifetime))
	refresh("one that has expired", string(second))

	if err := os.WriteFile(filepath.Join(dir, CACertKey), first, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "is not the authority of the certificate beside it") || published() != string(second) {
		t.Errorf("another authority gave %v", err)
	}
	if err := os.Remove(filepath.Join(dir, CACertKey)); err != nil {
		t.Fatal(err)
	}
	refresh("no authority", "none")
	refresh("none as before", "none")

	third := supply(t, dir, time.Now())
	refresh("one again", string(third))
	var theirs corev1.ConfigMap
	if err := opts.Client.Get(t.Context(), client.ObjectKey{Namespace: s.Namespace, Name: s.ConfigMapName}, &theirs); err != nil {
		t.Fatal(err)
	}
	theirs.Labels, theirs.Data = nil, map[string]string{CACertKey: "theirs"}
	if err := opts.Client.Update(t.Context(), &theirs); err != nil {
		t.Fatal(err)
	}
	refresh("one of somebody else's", "theirs")
	if err := os.Remove(filepath.Join(dir, CACertKey)); err != nil {
		t.Fatal(err)
	}
	refresh("no authority, and one of somebody else's", "theirs")
	if err := opts.Client.Get(t.Context(), client.ObjectKeyFromObject(&theirs), &theirs); err != nil {
		t.Fatal(err)
	}
	theirs.Labels = map[string]string{vaultv1alpha1.ManagedByLabel: vaultv1alpha1.ManagedByValue, vaultv1alpha1.AuthorityOfLabel: "elsewhere"}
	if err := opts.Client.Update(t.Context(), &theirs); err != nil {
		t.Fatal(err)
	}
	refresh("no authority, and a copy of another installation", "theirs")
	fourth := supply(t, dir, time.Now())
	refresh("instead of a copy of another installation", string(fourth))
	if err := opts.Client.Get(t.Context(), client.ObjectKeyFromObject(&theirs), &theirs); err != nil || isCopy(&theirs) {
		t.Errorf("it passes for a copy yet: %v, %v", theirs.Labels, err)
	}
}

// TestSuppliedAuthorityIsPEM: anything else is an error that says so.
func TestSuppliedAuthorityIsPEM(t *testing.T) {
	dir := t.TempDir()
	supply(t, dir, time.Now())
	if err := os.WriteFile(filepath.Join(dir, CACertKey), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &SuppliedAuthority{Dir: dir}
	if _, err := s.read(); err == nil || !strings.Contains(err.Error(), "holds no PEM certificate") {
		t.Errorf("got %v", err)
	}
}
