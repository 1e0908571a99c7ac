package keyring_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coffer-vault/coffer/internal/testkit/keyservice"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func kmsRoot(tb testing.TB, socket string) keyring.Root {
	tb.Helper()
	root, closeRoot, err := keyring.KMSRoot(socket)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = closeRoot() })
	return root
}

func tokenFile(tb testing.TB, token string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "token")
	writeFile(tb, file, token+"\n")
	return file
}

func writeFile(tb testing.TB, file, text string) {
	tb.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func transitConfig(tb testing.TB, s *keyservice.Transit) keyring.TransitConfig {
	tb.Helper()
	return keyring.TransitConfig{Address: s.Address, CAFile: s.CAFile, Key: "coffer", TokenFile: tokenFile(tb, "token-1")}
}

func transitRoot(tb testing.TB, c keyring.TransitConfig) keyring.Root {
	tb.Helper()
	root, err := keyring.TransitRoot(c)
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// TestEveryBitOfARemoteWrapCounts: of what the remote key wrapped, of what stands
// beside it, and of what the local key sealed.
func TestEveryBitOfARemoteWrapCounts(t *testing.T) {
	for kind, root := range map[string]keyring.Root{
		"kms":     kmsRoot(t, keyservice.StartKMS(t).Socket),
		"transit": transitRoot(t, transitConfig(t, keyservice.StartTransit(t))),
	} {
		t.Run(kind, func(t *testing.T) {
			wrapped, err := root.Wrap(t.Context(), []byte("keyset"), []byte("aad"))
			if err != nil {
				t.Fatal(err)
			}
			if plaintext, err := root.Unwrap(t.Context(), wrapped, []byte("aad")); err != nil || string(plaintext) != "keyset" {
				t.Fatalf("unwrapped to %q, error %v", plaintext, err)
			}
			if _, err := root.Unwrap(t.Context(), wrapped, []byte("other")); !errors.Is(err, keyring.ErrRootKey) {
				t.Errorf("other aad: error %v, want ErrRootKey", err)
			}
			for bit := range len(wrapped) * 8 {
				if _, err := root.Unwrap(t.Context(), flip(wrapped, bit), []byte("aad")); !errors.Is(err, keyring.ErrRootKey) {
					t.Fatalf("bit %d flipped: error %v, want ErrRootKey", bit, err)
				}
			}
			for n := range wrapped {
				if _, err := root.Unwrap(t.Context(), wrapped[:n], []byte("aad")); !errors.Is(err, keyring.ErrRootKey) {
					t.Fatalf("first %d bytes: error %v, want ErrRootKey", n, err)
				}
			}
		})
	}
}

// wants says of which of the two kinds an error must be; neither is a configuration or
// a plugin to mend.
type wants struct {
	rootKey, away bool
	text          string
}

func (w wants) check(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if errors.Is(err, keyring.ErrRootKey) != w.rootKey || errors.Is(err, secret.ErrUnavailable) != w.away || !strings.Contains(err.Error(), w.text) {
		t.Errorf("error %q: ErrRootKey %v, ErrUnavailable %v; want %+v",
			err, errors.Is(err, keyring.ErrRootKey), errors.Is(err, secret.ErrUnavailable), w)
	}
}

func TestKMSErrors(t *testing.T) {
	plugin := keyservice.StartKMS(t)
	root := kmsRoot(t, "unix://"+plugin.Socket)
	wrapped, err := root.Wrap(t.Context(), []byte("keyset"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sick := keyservice.KMSBehaviour{Healthz: "the HSM is gone"}
	for name, tc := range map[string]struct {
		behave       keyservice.KMSBehaviour
		wrap, unwrap wants
	}{
		"sick":          {sick, wants{away: true, text: "the HSM is gone"}, wants{}},
		"version 1":     {keyservice.KMSBehaviour{Version: "v1beta1"}, wants{text: "v1beta1"}, wants{}},
		"no key id":     {keyservice.KMSBehaviour{KeyID: strings.Repeat("x", 1025)}, wants{text: "key id"}, wants{}},
		"no ciphertext": {keyservice.KMSBehaviour{Ciphertext: []byte{}}, wants{text: "ciphertext has 0 bytes"}, wants{}},
		"long answer":   {keyservice.KMSBehaviour{Ciphertext: make([]byte, 1025)}, wants{text: "1025 bytes"}, wants{}},
		"busy": {
			keyservice.KMSBehaviour{Fail: status.Error(codes.ResourceExhausted, "slow down")},
			wants{away: true, text: "slow down"}, wants{away: true, text: "slow down"},
		},
		"refuses": {
			keyservice.KMSBehaviour{Fail: errors.New("no such key")},
			wants{away: true, text: "no such key"}, wants{rootKey: true, text: "no such key"},
		},
		"refuses and is sick": {
			keyservice.KMSBehaviour{Fail: errors.New("no such key"), Healthz: "the HSM is gone"},
			wants{away: true, text: "the HSM is gone"}, wants{away: true, text: "the HSM is gone"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plugin.Change(tc.behave)
			_, err := root.Wrap(t.Context(), []byte("keyset"), nil)
			tc.wrap.check(t, err)
			_, err = root.Unwrap(t.Context(), wrapped, nil)
			if tc.unwrap == (wants{}) {
				if err != nil {
					t.Errorf("unwrap: %v, though decrypting needs none of that", err)
				}
				return
			}
			tc.unwrap.check(t, err)
		})
	}
	plugin.Change(keyservice.KMSBehaviour{})
	plugin.Stop()
	_, err = root.Unwrap(t.Context(), wrapped, nil)
	wants{away: true, text: plugin.Socket}.check(t, err)
	_, _, err = keyring.KMSRoot("kms.sock")
	wants{text: "absolute path"}.check(t, err)
}

// TestKMSRootWaitsForThePlugin: a plugin that starts a moment after the manager.
func TestKMSRootWaitsForThePlugin(t *testing.T) {
	plugin := keyservice.NewKMS(t)
	root := kmsRoot(t, plugin.Socket)
	time.AfterFunc(200*time.Millisecond, func() { plugin.Start(t) })
	if _, err := keyring.Generate(t.Context(), root); err != nil {
		t.Error(err)
	}
}

func TestTransitErrors(t *testing.T) {
	server := keyservice.StartTransit(t)
	config := transitConfig(t, server)
	root := transitRoot(t, config)
	wrapped, err := root.Wrap(t.Context(), []byte("keyset"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		behave       keyservice.TransitBehaviour
		wrap, unwrap wants
	}{
		"sealed":          {keyservice.TransitBehaviour{Status: 503}, wants{away: true, text: "503"}, wants{away: true, text: "503"}},
		"limited":         {keyservice.TransitBehaviour{Status: 429}, wants{away: true, text: "429"}, wants{away: true, text: "429"}},
		"a standby":       {keyservice.TransitBehaviour{Status: 307, RedirectTo: "https://127.0.0.1:1/"}, wants{away: true, text: "redirects are not followed"}, wants{away: true, text: "standby"}},
		"another token":   {keyservice.TransitBehaviour{Token: "token-2"}, wants{away: true, text: "must allow update on transit/encrypt/coffer"}, wants{away: true, text: "transit/decrypt/coffer"}},
		"other namespace": {keyservice.TransitBehaviour{Namespace: "team"}, wants{away: true, text: "permission denied"}, wants{away: true, text: "permission denied"}},
		"key trimmed":     {keyservice.TransitBehaviour{Version: 2, MinDecryption: 2}, wants{}, wants{rootKey: true, text: "too old"}},
	} {
		t.Run(name, func(t *testing.T) {
			server.Change(tc.behave)
			if _, err := root.Wrap(t.Context(), []byte("keyset"), nil); tc.wrap != (wants{}) {
				tc.wrap.check(t, err)
			}
			_, err := root.Unwrap(t.Context(), wrapped, nil)
			tc.unwrap.check(t, err)
		})
	}
	server.Change(keyservice.TransitBehaviour{})
	for name, tc := range map[string]struct {
		change func(*keyring.TransitConfig)
		want   wants
	}{
		"another key":   {func(c *keyring.TransitConfig) { c.Key = "other" }, wants{rootKey: true, text: `the transit key "transit/coffer" wrapped it`}},
		"another mount": {func(c *keyring.TransitConfig) { c.Mount = "other" }, wants{rootKey: true, text: "other/coffer"}},
		"no CA":         {func(c *keyring.TransitConfig) { c.CAFile = "" }, wants{away: true, text: "certificate"}},
		"nobody":        {func(c *keyring.TransitConfig) { c.Address = "https://127.0.0.1:1" }, wants{away: true, text: "refused"}},
		"no token yet":  {func(c *keyring.TransitConfig) { c.TokenFile = "/none" }, wants{away: true, text: "/none"}},
	} {
		t.Run(name, func(t *testing.T) {
			other := config
			tc.change(&other)
			_, err := transitRoot(t, other).Unwrap(t.Context(), wrapped, nil)
			tc.want.check(t, err)
		})
	}
}

func TestTransitRefusals(t *testing.T) {
	good := keyring.TransitConfig{Address: "https://bao.example.com:8200", Key: "coffer", TokenFile: "/token"}
	for want, change := range map[string]func(*keyring.TransitConfig){
		"use https":         func(c *keyring.TransitConfig) { c.Address = "http://bao.example.com:8200" },
		"it is not a URL":   func(c *keyring.TransitConfig) { c.Address = "bao.example.com" },
		"name of a key":     func(c *keyring.TransitConfig) { c.Key = "a/b" },
		"either a file":     func(c *keyring.TransitConfig) { c.KubernetesRole = "coffer" },
		"with a token or":   func(c *keyring.TransitConfig) { c.TokenFile = "" },
		"read the CA file:": func(c *keyring.TransitConfig) { c.CAFile = "/none" },
	} {
		c := good
		change(&c)
		if _, err := keyring.TransitRoot(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if _, err := keyring.TransitRoot(good); err != nil {
		t.Error(err)
	}
}

// TestTransitRedirectsAreNotFollowed: what a redirect names must see neither the
// token nor the local key.
func TestTransitRedirectsAreNotFollowed(t *testing.T) {
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	server := keyservice.StartTransit(t)
	server.Change(keyservice.TransitBehaviour{Status: 307, RedirectTo: elsewhere.URL})
	if _, err := transitRoot(t, transitConfig(t, server)).Wrap(t.Context(), []byte("keyset"), nil); err == nil {
		t.Error("wrapped")
	}
	if asked.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestTransitTokenFileMayChange as an agent changes it.
func TestTransitTokenFileMayChange(t *testing.T) {
	server := keyservice.StartTransit(t)
	config := transitConfig(t, server)
	root := transitRoot(t, config)
	server.Change(keyservice.TransitBehaviour{Token: "token-2"})
	if _, err := root.Wrap(t.Context(), []byte("keyset"), nil); !errors.Is(err, secret.ErrUnavailable) {
		t.Fatalf("error %v, want ErrUnavailable", err)
	}
	writeFile(t, config.TokenFile, "token-2")
	if _, err := root.Wrap(t.Context(), []byte("keyset"), nil); err != nil {
		t.Error(err)
	}
}

func TestTransitKubernetesLogin(t *testing.T) {
	server := keyservice.StartTransit(t)
	config := transitConfig(t, server)
	config.TokenFile, config.KubernetesRole, config.JWTFile, config.Namespace = "", "coffer", tokenFile(t, "jwt"), "team"
	behave := keyservice.TransitBehaviour{JWT: "jwt", Namespace: "team", Token: "one", Lease: 3600}
	server.Change(behave)
	root := transitRoot(t, config)
	wrap := func(logins int) {
		t.Helper()
		if _, err := root.Wrap(t.Context(), []byte("keyset"), nil); err != nil {
			t.Error(err)
		}
		if got := server.Logins(); got != logins {
			t.Errorf("%d logins, want %d", got, logins)
		}
	}
	wrap(1)
	wrap(1)
	behave.Token = "two" // the first was revoked
	server.Change(behave)
	wrap(2)
	behave.Lease = 0
	behave.Token = "three"
	server.Change(behave)
	wrap(3)
	behave.JWT, behave.Token = "renewed", "four"
	server.Change(behave)
	_, err := root.Wrap(t.Context(), []byte("keyset"), nil)
	wants{away: true, text: `see the role "coffer"`}.check(t, err)
	writeFile(t, config.JWTFile, "renewed")
	wrap(4)
}

// TestRootMoved: whatever makes another key the current one is noticed, and wrapping
// anew ends it.
func TestRootMoved(t *testing.T) {
	plugin, server := keyservice.StartKMS(t), keyservice.StartTransit(t)
	file := writeKeyFile(t, 0o600, line("current", 1))
	keyFile, err := keyring.KeyFileRoot(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		before, after keyring.Root
		move          func()
		was, is       string
	}{
		"key file": {keyFile, keyFile, func() { writeFile(t, file, line("current", 2)+line("previous", 1)) }, "key-file ", "key-file "},
		"kms": {
			kmsRoot(t, plugin.Socket), kmsRoot(t, plugin.Socket),
			func() { plugin.Change(keyservice.KMSBehaviour{KeyID: "key-2"}) }, "kms key-1", "kms key-2",
		},
		"transit": {
			transitRoot(t, transitConfig(t, server)), transitRoot(t, transitConfig(t, server)),
			func() { server.Change(keyservice.TransitBehaviour{Version: 2}) }, "transit transit/coffer v1", "transit transit/coffer v2",
		},
		"another passphrase": {
			passphraseRoot(t, samplePassphrase), keyring.WithPrevious(passphraseRoot(t, samplePassphrase+"!"), passphraseRoot(t, samplePassphrase)),
			func() {}, "passphrase", "passphrase",
		},
		"passphrase to kms": {
			passphraseRoot(t, samplePassphrase), keyring.WithPrevious(kmsRoot(t, plugin.Socket), passphraseRoot(t, samplePassphrase)),
			func() {}, "passphrase", "kms key-",
		},
	} {
		t.Run(name, func(t *testing.T) {
			stored, err := keyring.Generate(t.Context(), tc.before)
			if err != nil {
				t.Fatal(err)
			}
			if got := keyring.DescribeRoot(stored).String(); !strings.HasPrefix(got, tc.was) {
				t.Errorf("it is wrapped by %q, want %q", got, tc.was)
			}
			mustBeMoved(t, tc.before, stored, false)
			tc.move()
			mustBeMoved(t, tc.after, stored, true)
			ring := load(t, tc.after, stored)
			again, err := ring.Seal(t.Context(), ring.Keyset())
			if err != nil {
				t.Fatal(err)
			}
			if got := keyring.DescribeRoot(again).String(); !strings.HasPrefix(got, tc.is) {
				t.Errorf("it is wrapped by %q anew, want %q", got, tc.is)
			}
			mustBeMoved(t, tc.after, again, false)
		})
	}
}

func mustBeMoved(t *testing.T, root keyring.Root, stored []byte, want bool) {
	t.Helper()
	moved, err := load(t, root, stored).RootMoved(t.Context(), stored)
	if err != nil || moved != want {
		t.Errorf("moved %v, error %v; want %v", moved, err, want)
	}
}

func TestWithPreviousSaysWhatIsWrong(t *testing.T) {
	stored, err := keyring.Generate(t.Context(), passphraseRoot(t, samplePassphrase))
	if err != nil {
		t.Fatal(err)
	}
	plugin := keyservice.StartKMS(t)
	_, err = keyring.Load(t.Context(), keyring.WithPrevious(kmsRoot(t, plugin.Socket), fileRoot(t, line("current", 1))), stored)
	wants{rootKey: true, text: "(the previous root key)"}.check(t, err)
	_, err = keyring.Load(t.Context(), keyring.WithPrevious(fileRoot(t, line("current", 1)), awayRoot{secret.ErrUnavailable}), stored)
	wants{away: true, text: "previous root key"}.check(t, err)
}

// TestKeyFileThatGoesAway: what it held last opens the keyset, and wraps nothing.
func TestKeyFileThatGoesAway(t *testing.T) {
	file := writeKeyFile(t, 0o600, line("current", 1))
	root, err := keyring.KeyFileRoot(file)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := keyring.Generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, "half writ")
	load(t, root, stored)
	if _, err := keyring.Generate(t.Context(), root); err == nil {
		t.Error("wrapped without a key file")
	}
}

// FuzzUnwrap changes what each kind of root wrapped.
func FuzzUnwrap(f *testing.F) {
	roots := []keyring.Root{
		fileRoot(f, line("current", 1)), passphraseRoot(f, samplePassphrase),
		kmsRoot(f, keyservice.StartKMS(f).Socket), transitRoot(f, transitConfig(f, keyservice.StartTransit(f))),
	}
	var good [][]byte
	for i, root := range roots {
		wrapped, err := root.Wrap(f.Context(), []byte("keyset"), nil)
		if err != nil {
			f.Fatal(err)
		}
		good = append(good, wrapped)
		f.Add(i, wrapped)
		f.Add(i, flip(wrapped, 9))
		f.Add((i+1)%len(roots), wrapped)
		f.Add(i, wrapped[:len(wrapped)/2])
	}
	f.Fuzz(func(t *testing.T, i int, wrapped []byte) {
		if i < 0 || i >= len(roots) {
			return
		}
		_, err := roots[i].Unwrap(context.Background(), wrapped, nil)
		if string(wrapped) == string(good[i]) {
			if err != nil {
				t.Errorf("root %d: %v", i, err)
			}
			return
		}
		if !errors.Is(err, keyring.ErrRootKey) {
			t.Errorf("root %d: error %v, want ErrRootKey", i, err)
		}
	})
}

// FuzzDescribeRoot: it reads what nothing has authenticated yet.
func FuzzDescribeRoot(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(unbase64(f, g.WrappedKeyset))
	}
	f.Fuzz(func(_ *testing.T, stored []byte) {
		_, _ = io.WriteString(io.Discard, keyring.DescribeRoot(stored).String())
	})
}
