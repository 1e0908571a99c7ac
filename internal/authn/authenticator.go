package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

var (
	// ErrUnauthenticated means that nobody vouches for the token: it is missing,
	// malformed, expired, of a deleted account, or for another audience. Which of
	// them is not said.
	ErrUnauthenticated = errors.New("the token is not valid for this vault")
	// ErrUnavailable means that the API server cannot be asked now.
	ErrUnavailable = errors.New("the identity cannot be checked now")
)

// Limits of what is remembered and of what is accepted.
const (
	// cacheFor is how long an accepted token is not reviewed again; a deleted
	// account keeps its access for as long.
	cacheFor   = 10 * time.Second
	cacheLimit = 4096
	// maxTokenBytes is far above a service account's token (about 1 KiB) and below
	// what would make the API server work for nothing.
	maxTokenBytes = 16 << 10
	reviewTimeout = 5 * time.Second
)

// userPrefix begins the user name of a service account
// (k8s.io/apiserver/pkg/authentication/serviceaccount).
const userPrefix = "system:serviceaccount:"

// Options of New.
type Options struct {
	// Client creates TokenReviews and reads Namespaces, as PartialObjectMetadata.
	Client client.Client
	// APIReader reads a Namespace that Client's cache does not know yet; Client when
	// nil.
	APIReader client.Reader
	// Audience that a token must be issued for.
	Audience string
	// Cluster is the name of this cluster in the vault's policies.
	Cluster string
	// DefaultEnvironment is that of namespaces without the label; none when empty.
	DefaultEnvironment string
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Authenticator checks tokens. It is safe for concurrent use.
type Authenticator struct {
	opts     Options
	accepted *tokenCache
	reviews  singleflight.Group
}

// New returns an Authenticator.
func New(opts Options) *Authenticator {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.APIReader == nil {
		opts.APIReader = opts.Client
	}
	return &Authenticator{opts: opts, accepted: newTokenCache(cacheFor, cacheLimit, opts.Now)}
}

// Authenticate returns who bears token. The caller's Address and RequestID are left
// empty. Errors wrap ErrUnauthenticated or ErrUnavailable.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (secret.Caller, error) {
	if token == "" || len(token) > maxTokenBytes {
		return secret.Caller{}, ErrUnauthenticated
	}
	user, err := a.user(ctx, token)
	if err != nil {
		return secret.Caller{}, err
	}
	return a.caller(ctx, user)
}

// user reviews the token, once for all who bring it at the same time.
func (a *Authenticator) user(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	key := sha256.Sum256([]byte(token))
	if user, ok := a.accepted.get(key); ok {
		return user, nil
	}
	// The one who asks first must not take the answer away from the others by
	// hanging up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout)
	defer cancel()
	result, err, _ := a.reviews.Do(string(key[:]), func() (any, error) {
		user, err := a.review(ctx, token)
		if err == nil {
			a.accepted.put(key, user)
		}
		return user, err
	})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return result.(authenticationv1.UserInfo), nil
}

func (a *Authenticator) review(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{
		Token: token, Audiences: []string{a.opts.Audience},
	}}
	if err := a.opts.Client.Create(ctx, review); err != nil {
		// The API server's text is not passed on: it may speak of the token.
		return authenticationv1.UserInfo{}, fmt.Errorf("%w: the API server answers a TokenReview with %q", ErrUnavailable, apierrors.ReasonForError(err))
	}
	// An authenticator that knows no audiences leaves status.audiences empty: its
	// tokens are for the API server, not for the vault.
	if !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, a.opts.Audience) {
		return authenticationv1.UserInfo{}, ErrUnauthenticated
	}
	return review.Status.User, nil
}

// caller never makes a secret.KindSystem.
func (a *Authenticator) caller(ctx context.Context, user authenticationv1.UserInfo) (secret.Caller, error) {
	if user.Username == "" {
		return secret.Caller{}, ErrUnauthenticated
	}
	namespace, name, ok := serviceAccount(user.Username)
	if !ok {
		return secret.Caller{
			Kind: secret.KindUser, Cluster: a.opts.Cluster, Name: user.Username, UID: user.UID, Groups: user.Groups,
			Environment: a.opts.DefaultEnvironment,
		}, nil
	}
	environment, err := a.environment(ctx, namespace)
	if err != nil {
		return secret.Caller{}, err
	}
	return secret.Caller{
		Kind: secret.KindServiceAccount, Cluster: a.opts.Cluster, Namespace: namespace, Name: name, UID: user.UID,
		Groups: user.Groups, Environment: environment,
	}, nil
}

func serviceAccount(username string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(username, userPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != ""
}

// environment is the label of the namespace, or the default. A namespace that is
// gone vouches for nobody.
func (a *Authenticator) environment(ctx context.Context, name string) (string, error) {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(namespaceKind)
	err := a.opts.Client.Get(ctx, client.ObjectKey{Name: name}, namespace)
	if apierrors.IsNotFound(err) {
		err = a.opts.APIReader.Get(ctx, client.ObjectKey{Name: name}, namespace)
	}
	switch {
	case apierrors.IsNotFound(err):
		return "", ErrUnauthenticated
	case err != nil:
		return "", fmt.Errorf("%w: the namespace %s cannot be read", ErrUnavailable, name)
	}
	if environment := namespace.Labels[vaultv1alpha1.EnvironmentLabel]; environment != "" {
		return environment, nil
	}
	return a.opts.DefaultEnvironment, nil
}
