package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Read opens one version of a path: the current one when ref names none. It needs the
// read capability. Clear the value after use.
//
// Errors: secret.ErrDenied (also when the path does not exist),
// secret.ErrVersionNotFound (also as secret.ErrVersionDeleted and
// secret.ErrVersionDestroyed), secret.ErrTampered, secret.ErrUnavailable,
// secret.ErrInvalid.
func (e *Engine) Read(ctx context.Context, caller secret.Caller, ref secret.Ref) (secret.Secret, error) {
	return e.read(ctx, caller, ref, e.judgeVersion)
}

func (e *Engine) read(ctx context.Context, caller secret.Caller, ref secret.Ref, judge judging) (_ secret.Secret, err error) {
	ctx, done := e.begin(ctx, audit.Read)
	defer func() { done(err) }()
	r := request{caller: caller, action: audit.Read, ref: ref, need: []policy.Capability{policy.Read}}
	for range headReads {
		head, err := e.head(ctx, caller, ref)
		if err != nil {
			return secret.Secret{}, err
		}
		value, recorded, err := e.openRecorded(ctx, ref.Path, head.Version, judge(ctx, r, head))
		if recorded != nil {
			return secret.Secret{}, recorded
		}
		if err == nil {
			return secret.Secret{Metadata: metadata(ref.Path, head.Secret, head.Version), Value: value}, nil
		}
		if !errors.Is(err, secret.ErrTampered) {
			return secret.Secret{}, fmt.Errorf("read %s: %w", ref.Path, err)
		}
		if r := r.at(head.Version.Version); !e.isGone(ctx, r, judge) {
			return secret.Secret{}, e.record(ctx, r.fail(err, ruleBox))
		}
	}
	return secret.Secret{}, fmt.Errorf("read %s: %w", ref.Path, errOvertaken)
}

// openRecorded opens the version that v allows while v becomes durable, and gives the
// value to nobody before. recorded is what record says of v: the value is there only when
// both errors are nil.
func (e *Engine) openRecorded(ctx context.Context, path secret.Path, version *store.Version, v verdict) (value secret.Value, recorded, err error) {
	if v.err != nil {
		return secret.Value{}, e.record(ctx, v), nil
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		// As in the goroutine of the caller, whose request alone it would end.
		defer func() {
			if p := recover(); p != nil {
				e.logger.ErrorContext(ctx, "recording a read panicked", "panic", p, "stack", string(debug.Stack()))
				recorded = fmt.Errorf("%w: the read could not be recorded", secret.ErrUnavailable)
			}
		}()
		recorded = e.record(ctx, v)
	})
	value, err = e.open(ctx, path, version)
	wait.Wait()
	if recorded != nil {
		value.Clear()
		return secret.Value{}, recorded, nil
	}
	return value, nil, err
}

// headReads bounds how often a read that writers overtake begins anew. It takes some
// milliseconds, so that many in a row are not to be expected.
const headReads = 20

var errOvertaken = fmt.Errorf("%w: the path was written again and again while it was read; try again", secret.ErrUnavailable)

// isGone tells a version that was taken away since its row was read, such as one that a
// write destroyed as the oldest, from one that was tampered with. A label is on another
// version then.
func (e *Engine) isGone(ctx context.Context, r request, judge judging) bool {
	head, err := e.head(ctx, r.caller, r.ref)
	if err != nil {
		return false
	}
	v := judge(ctx, r, head)
	return v.err != nil && !errors.Is(v.err, secret.ErrTampered)
}

// at is r about a version that is known by now.
func (r request) at(version int64) request {
	r.ref.Version, r.ref.Label = version, ""
	return r
}

// open finds the box in the caches or the database, and opens it. A cached box that
// does not open is a miss.
func (e *Engine) open(ctx context.Context, path secret.Path, v *store.Version) (secret.Value, error) {
	value, err := e.openWith(ctx, path, v)
	// A rewrap may have replaced the wrapped key since it was read, and the key that
	// wrapped it may be destroyed by now.
	for attempt := 1; errors.Is(err, secret.ErrTampered) && attempt <= wrappedKeyReads; attempt++ {
		wrapped, readErr := e.store.WrappedKeyOf(ctx, v.SecretID, v.Version)
		if readErr != nil {
			return secret.Value{}, readErr
		}
		if bytes.Equal(wrapped, v.WrappedKey) {
			break
		}
		current := *v
		current.WrappedKey = wrapped
		v = &current
		value, err = e.openWith(ctx, path, v)
	}
	return value, err
}

// wrappedKeyReads bounds how often a read that rewraps overtake begins anew: twice
// in a row is not to be expected.
const wrappedKeyReads = 2

func (e *Engine) openWith(ctx context.Context, path secret.Path, v *store.Version) (value secret.Value, err error) {
	binding := e.binding(v.SecretID, path, v.Version)
	unseal := func(box []byte) error {
		plaintext, err := envelope.Open(ctx, e.keyring, binding, envelope.Sealed{WrappedKey: v.WrappedKey, Box: box})
		if err != nil {
			return err
		}
		value, err = secret.NewValue(plaintext)
		return err
	}
	stored := func(ctx context.Context) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, operationTimeout)
		defer cancel()
		return e.box(ctx, store.BoxOf{SecretID: v.SecretID, Version: v.Version})
	}
	if err := e.cache.Open(ctx, e.cacheName(v.SecretID, v.Version), unseal, stored); err != nil {
		return secret.Value{}, err
	}
	return value, nil
}

func metadata(path secret.Path, s *store.Secret, v *store.Version) secret.Metadata {
	return secret.Metadata{
		Path: path, Version: v.Version, Description: s.Description, Tags: s.Tags, RotateAfterDays: s.RotateAfterDays,
		Access:      secret.AccessPolicy{AllowedServices: s.AllowedServices, AllowedEnvironments: s.AllowedEnvironments},
		MaxVersions: s.MaxVersions, Labels: labelsOf(s, v.Version),
		CreatedAt: v.CreatedAt.UTC(), CreatedBy: v.CreatedBy,
	}
}

// Check authorises caller to read every ref, and returns, in their order, what
// Read would return but for the values. It opens nothing. Only a refusal is
// audited: the first one ends the check, and its error names the path.
//
// Errors are those of Read.
func (e *Engine) Check(ctx context.Context, caller secret.Caller, refs []secret.Ref) (_ []secret.Metadata, err error) {
	ctx, done := e.begin(ctx, audit.Check)
	defer func() { done(err) }()
	wanted, err := wantedOfAll(caller, refs)
	if err != nil {
		return nil, err
	}
	heads, err := e.headsOf(ctx, wanted)
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	found, err := e.checked(ctx, caller, refs, heads)
	return found.Named, err
}

// checked decides about each of refs by its head, and audits the first refusal. Until is
// that of a refusal too.
func (e *Engine) checked(ctx context.Context, caller secret.Caller, refs []secret.Ref, heads []store.Head) (secret.Resolution, error) {
	var until time.Time
	found, decided := make([]secret.Metadata, len(refs)), make([]secret.Allowed, len(refs))
	now := e.now() // before the decisions
	for i, ref := range refs {
		r := request{caller: caller, action: audit.Check, ref: ref, need: []policy.Capability{policy.Read}}
		v := e.judgeVersion(ctx, r, heads[i])
		if v.err != nil {
			return secret.Resolution{Until: v.until}, e.record(ctx, v)
		}
		until = secret.Earlier(until, v.until)
		found[i] = metadata(ref.Path, heads[i].Secret, heads[i].Version)
		decided[i] = &allowed{request: r, verdict: v, metadata: found[i], version: heads[i].Version, at: now}
	}
	return secret.Resolution{Named: found, Allowed: decided, Until: until}, nil
}

// Metadata describes the current version of a path. It needs the list or the read
// capability.
//
// Errors are those of Read.
func (e *Engine) Metadata(ctx context.Context, caller secret.Caller, path secret.Path) (_ secret.Metadata, err error) {
	ctx, done := e.begin(ctx, audit.Metadata)
	defer func() { done(err) }()
	ref := secret.Ref{Path: path}
	head, err := e.head(ctx, caller, ref)
	if err != nil {
		return secret.Metadata{}, err
	}
	r := request{caller: caller, action: audit.Metadata, ref: ref, need: []policy.Capability{policy.List, policy.Read}}
	if err := e.record(ctx, e.judgeVersion(ctx, r, head)); err != nil {
		return secret.Metadata{}, err
	}
	return metadata(path, head.Secret, head.Version), nil
}
