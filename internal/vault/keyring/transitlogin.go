package keyring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	// podTokenFile is where the kubelet keeps a pod's token, and renews it.
	podTokenFile           = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	defaultKubernetesMount = "kubernetes"
)

// transitLogin has the token for the transit engine: one from a file, or one that a
// login as a Kubernetes service account gave.
type transitLogin struct {
	tokenFile        string
	role, mount, jwt string
	now              func() time.Time
	mu               sync.Mutex
	held             string
	heldUntil        time.Time
}

func newTransitLogin(c TransitConfig) (*transitLogin, error) {
	if (c.TokenFile == "") == (c.KubernetesRole == "") {
		return nil, errors.New("give either a file with a token or a role of the Kubernetes auth method")
	}
	l := &transitLogin{tokenFile: c.TokenFile, role: c.KubernetesRole, mount: c.KubernetesMount, jwt: c.JWTFile, now: time.Now}
	if l.mount == "" {
		l.mount = defaultKubernetesMount
	}
	if l.jwt == "" {
		l.jwt = podTokenFile
	}
	return l, nil
}

// token returns a token that the server took a moment ago or has not seen yet.
func (l *transitLogin) token(ctx context.Context, api *transitAPI) (string, error) {
	if l.tokenFile != "" {
		return readToken("the token for the transit engine", l.tokenFile)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != "" && l.now().Before(l.heldUntil) {
		return l.held, nil
	}
	jwt, err := readToken("the token of the service account", l.jwt)
	if err != nil {
		return "", err
	}
	var answer struct {
		Auth struct {
			ClientToken   string `json:"client_token"`
			LeaseDuration int    `json:"lease_duration"` // seconds; 0 is for ever
		} `json:"auth"`
	}
	request := map[string]string{"role": l.role, "jwt": jwt}
	if err := api.post(ctx, "", "auth/"+l.mount+"/login", request, &answer); err != nil {
		if _, refused := errors.AsType[*transitRefusal](err); refused {
			return "", away("log in as a Kubernetes service account: %w; see the role %q of the auth method %q", err, l.role, l.mount)
		}
		return "", fmt.Errorf("log in as a Kubernetes service account: %w", err)
	}
	if answer.Auth.ClientToken == "" {
		return "", away("log in as a Kubernetes service account: the answer of auth/%s/login has no token", l.mount)
	}
	// Another login costs no more than a renewal, and needs no right to renew.
	l.held = answer.Auth.ClientToken
	l.heldUntil = l.now().Add(time.Duration(answer.Auth.LeaseDuration) * time.Second * 2 / 3)
	return l.held, nil
}

// forget drops a token that was refused, and reports whether another can be had.
func (l *transitLogin) forget() bool {
	if l.tokenFile != "" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = ""
	return true
}

func readToken(what, file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", away("read %s: %w", what, err)
	}
	defer clear(text)
	token := trimmed(text)
	if token == "" {
		return "", away("read %s: %s is empty", what, file)
	}
	return token, nil
}
