package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokenLifetime is what is asked for; the API server may give another. It allows no less
// than 10 minutes.
const tokenLifetime = time.Hour

// While an old token is still good, a new one is waited for at most renewTimeout, and where the API server
// gives none it is asked again after renewAgain at the earliest.
const (
	renewTimeout = 5 * time.Second
	renewAgain   = 30 * time.Second
)

// Token returns a bearer token of the service account, a new one when the last has less
// than a fifth of its life left, as the kubelet does it. While the API server is away, the last
// one is returned until it expires.
func (i *Installation) Token(ctx context.Context) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	// Of the wall clock: the monotonic one stands still while a machine sleeps.
	now := i.now().Round(0)
	if i.token != "" && now.Before(i.renew) {
		return i.token, nil
	}
	good := i.token != "" && now.Before(i.expires)
	if good {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, renewTimeout)
		defer cancel()
	}
	err := i.newToken(ctx)
	if failed, ok := errors.AsType[*Error](err); ok && good && failed.Kind == Unreachable {
		i.renew = i.now().Round(0).Add(renewAgain)
		return i.token, nil
	}
	if err != nil {
		return "", err
	}
	return i.token, nil
}

// newToken asks for a token. When that fails, what there is stays.
func (i *Installation) newToken(ctx context.Context) error {
	account := i.target.ServiceAccount
	seconds := int64(tokenLifetime / time.Second)
	began := i.now().Round(0)
	answer, err := i.kube.CoreV1().ServiceAccounts(account.Namespace).CreateToken(ctx, account.Name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{i.target.Audience}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return i.noToken(ctx, err)
	}
	i.token, i.expires = answer.Status.Token, answer.Status.ExpirationTimestamp.Time
	i.renew = began.Add(i.expires.Sub(began) * 4 / 5)
	return nil
}

// forget makes Token ask for a new token: the server refused this one.
func (i *Installation) forget(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.token == token {
		i.token = ""
	}
}

func (i *Installation) noToken(ctx context.Context, err error) error {
	account := i.target.ServiceAccount
	e := &Error{Message: fmt.Sprintf("ask for a token of the service account %s", account), cause: err}
	switch {
	case apierrors.IsForbidden(err):
		e.Message, e.cause = fmt.Sprintf("you may not create tokens of the service account %s", account), nil
		e.Next = i.grant(ctx, right{
			namespace: account.Namespace, role: "coffer-token-" + account.Name,
			verb: "create", resource: "serviceaccounts/token", name: account.Name,
		})
	case apierrors.IsNotFound(err):
		e.Message, e.cause = fmt.Sprintf("there is no service account %s in the cluster of context %s", account, i.target.Context), nil
		e.Next = fmt.Sprintf("Make it, or name another one with --as-service-account: kubectl -n %s create serviceaccount %s",
			ShellWord(account.Namespace), ShellWord(account.Name))
	case apierrors.IsUnauthorized(err):
		e.Next = "The cluster does not know you any more: renew the credentials of your kubeconfig, and see: kubectl auth whoami"
	default:
		e.Kind = Unreachable
		e.Next = "Does the cluster answer? kubectl --context " + ShellWord(i.target.Context) + " version"
	}
	return e
}
