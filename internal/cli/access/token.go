package access

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokenLifetime is what is asked for; the API server may give another. It allows no less
// than 10 minutes.
const tokenLifetime = time.Hour

// Token returns a bearer token of the service account, a new one when the last has less
// than a fifth of its life left, as the kubelet does it.
func (i *Installation) Token(ctx context.Context) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	// Of the wall clock: the monotonic one stands still while a machine sleeps.
	if i.token != "" && i.now().Round(0).Before(i.renew.Round(0)) {
		return i.token, nil
	}
	account := i.target.ServiceAccount
	seconds := int64(tokenLifetime / time.Second)
	began := i.now()
	answer, err := i.kube.CoreV1().ServiceAccounts(account.Namespace).CreateToken(ctx, account.Name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{i.target.Audience}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", i.noToken(ctx, err)
	}
	i.token = answer.Status.Token
	i.renew = began.Add(answer.Status.ExpirationTimestamp.Sub(began) * 4 / 5)
	return i.token, nil
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
