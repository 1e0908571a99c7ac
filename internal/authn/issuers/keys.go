package issuers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
	"k8s.io/utils/clock"
)

// How long keys are believed, and how often an issuer is asked for them.
const (
	// freshFor is after how long they are asked for again: a key that the issuer takes
	// back, because it leaked, is good here for about as long.
	freshFor = 5 * time.Minute
	// usableFor is how long they go on being used while the issuer does not answer.
	usableFor = time.Hour
	// askAgain is how long an answer, or that there was none, stands for a token whose key
	// is not among them: who makes keys up must not make Coffer a burden to the issuer.
	// Issuers show a key long before they sign with it.
	askAgain = 10 * time.Second
	// fetchTimeout bounds asking; refreshPatience is how long a token waits for fresh keys
	// when there are usable ones.
	fetchTimeout    = 10 * time.Second
	refreshPatience = 2 * time.Second
)

// keys are the public keys of one issuer. It is an oidc.KeySet of our own because that of
// package oidc keeps a key for as long as its tokens come, and asks the issuer about each
// token that it cannot verify. It is safe for concurrent use.
type keys struct {
	fetch func(context.Context) ([]jose.JSONWebKey, error)
	clock clock.PassiveClock

	flights singleflight.Group
	mu      sync.Mutex
	held    []jose.JSONWebKey
	heldAt  time.Time // zero when there never were any
	askedAt time.Time // when the last answer came, or did not
	err     error     // why it did not
}

var errSignature = errors.New("no key of the issuer verifies the signature")

// verify returns the payload of a token in compact form whose signature is by one of the
// keys.
//
// Errors: errSignature, ErrUnavailable when that cannot be told, the error of ctx, and
// those of reading the token.
func (k *keys) verify(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, err
	}
	held, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	payload, named := open(signed, held)
	if payload != nil {
		return payload, nil
	}
	if named {
		return nil, errSignature
	}
	if err := k.ask(ctx); err != nil {
		return nil, err
	}
	if payload, _ = open(signed, k.now()); payload != nil {
		return payload, nil
	}
	return nil, errSignature
}

// open tries the keys that the token names, or all when it names none; named says that
// there is a key of the name.
func open(signed *jose.JSONWebSignature, held []jose.JSONWebKey) (payload []byte, named bool) {
	id := signed.Signatures[0].Header.KeyID
	for i := range held {
		if id != "" && held[i].KeyID != id {
			continue
		}
		named = id != ""
		if payload, err := signed.Verify(&held[i]); err == nil {
			return payload, named
		}
	}
	return nil, named
}

func (k *keys) now() []jose.JSONWebKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held
}

// current returns keys that may be used, after asking for others when they are not fresh.
func (k *keys) current(ctx context.Context) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	held, there, age := k.held, !k.heldAt.IsZero(), k.clock.Since(k.heldAt)
	k.mu.Unlock()
	switch {
	case there && age < freshFor:
		return held, nil
	case there && age < usableFor:
		patient, cancel := context.WithTimeout(ctx, refreshPatience)
		defer cancel()
		_ = k.ask(patient) // those of before do meanwhile
		return k.now(), nil
	}
	if err := k.ask(ctx); err != nil {
		return nil, err
	}
	return k.now(), nil
}

// ask has the keys fetched, unless that was tried lately: then the outcome of that counts.
// Who asks at one time shares a fetch, which outlives the request that began it.
func (k *keys) ask(ctx context.Context) error {
	if lately, err := k.lately(); lately {
		return err
	}
	flight := k.flights.DoChan("", func() (any, error) {
		if lately, err := k.lately(); lately { // another fetch has ended since it was looked at
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return nil, k.refresh(ctx)
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case result := <-flight:
		return result.Err
	}
}

// lately reports whether the keys were asked for a moment ago, and what came of it.
func (k *keys) lately() (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.askedAt.IsZero() && k.clock.Since(k.askedAt) < askAgain, k.err
}

func (k *keys) refresh(ctx context.Context) error {
	fetched, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.askedAt, k.err = k.clock.Now(), nil
	if err != nil {
		k.err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		return k.err
	}
	k.held, k.heldAt = fetched, k.askedAt
	return nil
}
