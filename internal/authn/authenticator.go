package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The errors of Authenticate.
var (
	// ErrUnauthenticated says no more on purpose: why a token is refused is of use
	// only to who should not have one.
	ErrUnauthenticated = errors.New("the token is missing, expired, or not issued for this server")
	// ErrUnavailable means that the Kubernetes API server, or the issuer of the token, did
	// not answer.
	ErrUnavailable = errors.New("the token cannot be checked now")
)

// How long an answer is believed. A deleted service account keeps its access for at
// most acceptedFor. Refusals are kept only to take the edge off a client that retries
// in a loop: a token can become valid.
const (
	acceptedFor  = 10 * time.Second
	refusedFor   = time.Second
	cacheEntries = 4096
	// knownFor is how long it is remembered that a token was accepted: Known.
	knownFor      = time.Hour
	reviewTimeout = 10 * time.Second
	// maxReviews is how many reviews are asked for at a time: who sends garbage must not
	// make Coffer a burden to the API server.
	maxReviews = 32
	// maxTokenBytes is far above what Kubernetes issues, about 1 KiB.
	maxTokenBytes = 16 << 10
)

// Options says whom to ask and what to accept.
type Options struct {
	// Client creates TokenReviews and reads Namespaces, best from a cache.
	Client client.Client
	// Reader reads ServiceAccounts from the API server: they are asked for too seldom to
	// be worth a cache.
	Reader client.Reader
	// Audience that tokens must be issued for, such as "coffer".
	Audience string
	// Cluster is the name of the cluster that Client talks to.
	Cluster string
	// DefaultEnvironment is that of namespaces without the label; none when empty.
	DefaultEnvironment string
	// Namespaces are those whose service accounts are accepted; all when nil. Client need
	// not read others.
	Namespaces []string
	// Issuers are those whose tokens are believed besides; none when nil.
	Issuers *issuers.File
	// Registerer takes the metrics; none when nil.
	Registerer prometheus.Registerer
	// Clock is the real one when nil.
	Clock clock.PassiveClock
}

// Authenticator checks tokens. It is safe for concurrent use.
type Authenticator struct {
	client             client.Client
	reader             client.Reader
	audience           string
	cluster            string
	defaultEnvironment string
	namespaces         []string
	issuers            *issuers.File
	clock              clock.PassiveClock
	metrics            metrics

	// The caches are keyed by the SHA-256 of the token, so that memory holds no token
	// for longer than its request. They are apart so that garbage cannot push
	// callers out.
	accepted *cache.LRUExpireCache
	refused  *cache.LRUExpireCache
	known    *cache.LRUExpireCache
	flights  singleflight.Group
	reviews  *semaphore.Weighted
}

// New returns an Authenticator.
func New(o Options) *Authenticator {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return &Authenticator{
		client: o.Client, reader: o.Reader, audience: o.Audience, cluster: o.Cluster, defaultEnvironment: o.DefaultEnvironment, namespaces: o.Namespaces,
		issuers: o.Issuers, clock: o.Clock, metrics: newMetrics(o.Registerer),
		accepted: cache.NewLRUExpireCacheWithClock(cacheEntries, o.Clock),
		refused:  cache.NewLRUExpireCacheWithClock(cacheEntries, o.Clock),
		known:    cache.NewLRUExpireCacheWithClock(cacheEntries, o.Clock),
		reviews:  semaphore.NewWeighted(maxReviews),
	}
}

// Authenticate returns who the token belongs to, without Address and RequestID.
//
// Errors: ErrUnauthenticated; ErrUnavailable, with its cause; the error of ctx. None
// holds the token.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (secret.Caller, error) {
	if !plausible(token) {
		return secret.Caller{}, ErrUnauthenticated
	}
	key := sha256.Sum256([]byte(token))
	if _, ok := a.refused.Get(key); ok {
		return secret.Caller{}, ErrUnauthenticated
	}
	caller, ok := a.cached(key)
	if !ok {
		var err error
		if caller, err = a.shareReview(ctx, key, token); err != nil {
			return secret.Caller{}, err
		}
	}
	if caller.Kind == secret.KindServiceAccount {
		if a.namespaces != nil && !slices.Contains(a.namespaces, caller.Namespace) {
			return secret.Caller{}, ErrUnauthenticated
		}
		// Not cached with the rest: a new label counts at once.
		environment, err := a.Environment(ctx, caller.Namespace)
		if err != nil {
			return secret.Caller{}, err
		}
		caller.Environment = environment
	}
	return caller, nil
}

// Known reports whether the token was good when it was last checked, lately. It says nothing of
// now, and is for telling who has been a caller from who sends garbage.
func (a *Authenticator) Known(token string) bool {
	_, ok := a.known.Get(sha256.Sum256([]byte(token)))
	return ok
}

func (a *Authenticator) cached(key [sha256.Size]byte) (secret.Caller, bool) {
	entry, ok := a.accepted.Get(key)
	if !ok {
		return secret.Caller{}, false
	}
	caller := entry.(secret.Caller)
	caller.Groups = slices.Clone(caller.Groups)
	return caller, true
}

// identify asks whoever knows the token, and says for how long the answer is believed.
func (a *Authenticator) identify(ctx context.Context, token string) (_ secret.Caller, believed time.Duration, _ error) {
	if a.issuers != nil {
		if issuer := a.issuers.For(ctx, token); issuer != nil {
			caller, believed, err := a.ofIssuer(ctx, issuer, token)
			a.metrics.checked(issuer.URL(), err)
			return caller, believed, err
		}
	}
	caller, err := a.review(ctx, token)
	a.metrics.checked(ofKubernetes, err)
	return caller, acceptedFor, err
}

// shareReview lets requests that come with one token at one time wait for one
// review. The review outlives the request that began it.
func (a *Authenticator) shareReview(ctx context.Context, key [sha256.Size]byte, token string) (secret.Caller, error) {
	flight := a.flights.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout)
		defer cancel()
		caller, believed, err := a.identify(ctx, token)
		switch {
		case err == nil:
			a.accepted.Add(key, caller, believed)
			a.known.Add(key, struct{}{}, knownFor)
		case errors.Is(err, ErrUnauthenticated):
			a.refused.Add(key, struct{}{}, refusedFor)
			a.known.Remove(key)
		}
		return caller, err
	})
	select {
	case <-ctx.Done():
		return secret.Caller{}, ctx.Err()
	case result := <-flight:
		if result.Err != nil {
			return secret.Caller{}, result.Err
		}
		caller := result.Val.(secret.Caller)
		caller.Groups = slices.Clone(caller.Groups)
		return caller, nil
	}
}

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

// review asks the API server.
func (a *Authenticator) review(ctx context.Context, token string) (secret.Caller, error) {
	if err := a.reviews.Acquire(ctx, 1); err != nil {
		return secret.Caller{}, fmt.Errorf("%w: too many tokens wait to be checked", ErrUnavailable)
	}
	defer a.reviews.Release(1)
	review := &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{a.audience}},
	}
	if err := a.client.Create(ctx, review); err != nil {
		return secret.Caller{}, fmt.Errorf("%w: %w", ErrUnavailable, reasonOf(err))
	}
	// A server that does not know of audiences answers with none: then the token may
	// be for anyone.
	if !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, a.audience) {
		return secret.Caller{}, ErrUnauthenticated
	}
	caller, err := callerOf(a.cluster, review.Status.User)
	// Nobody else is to pass for a caller of an issuer, or one of its groups.
	if err == nil && caller.Kind == secret.KindUser && a.issuers != nil && a.issuers.Owns(caller.Name, caller.Groups) {
		return secret.Caller{}, ErrUnauthenticated
	}
	return caller, err
}

// reasonOf is err without its text when that could quote the request, as the refusal
// of an invalid object does.
func reasonOf(err error) error {
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return fmt.Errorf("it answered %s", apierrors.ReasonForError(err))
	}
	return err
}

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch

// Environment returns the environment of a namespace: that of its label, or the
// default.
//
// Errors: ErrUnavailable, also when the namespace is not there: a namespace whose
// label is not known must not pass for one without.
func (a *Authenticator) Environment(ctx context.Context, namespace string) (string, error) {
	var object corev1.Namespace
	if err := a.client.Get(ctx, client.ObjectKey{Name: namespace}, &object); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if environment := object.Labels[vaultv1alpha1.EnvironmentLabel]; environment != "" {
		return environment, nil
	}
	return a.defaultEnvironment, nil
}

// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get

// ServiceAccountUID returns the UID of the account that exists.
//
// Errors: ErrUnavailable, also when there is none.
func (a *Authenticator) ServiceAccountUID(ctx context.Context, namespace, name string) (string, error) {
	var account metav1.PartialObjectMetadata
	account.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	if err := a.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &account); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return string(account.UID), nil
}

// plausible reports whether token has the characters of a bearer token (RFC 6750,
// section 2.1) and a reasonable size. What has not is not sent on.
func plausible(token string) bool {
	if token == "" || len(token) > maxTokenBytes {
		return false
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return true
}
