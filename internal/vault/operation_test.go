package vault_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Outcomes that spec.apply does not know.
const (
	// unknown is that of an operation whose answer got lost.
	unknown    = "unknown"
	isTampered = "tampered"
)

// do runs o on an engine and returns its outcome in the words of spec.apply.
func (o operation) do(ctx context.Context, e *vault.Engine) string {
	p := path(o.path)
	ref := secret.Ref{Path: p, Version: o.version, Label: o.label}
	var m secret.Metadata
	var err error
	switch o.action {
	case audit.Read:
		var s secret.Secret
		if s, err = e.Read(ctx, o.caller, ref); err == nil {
			return describeRead(s.Metadata, string(s.Value.Bytes()))
		}
	case audit.Versions:
		var versions []secret.Version
		if versions, err = e.Versions(ctx, o.caller, p); err == nil {
			return fmt.Sprint(versions)
		}
	case audit.Put, audit.Rotate:
		m, err = o.write(ctx, e, p)
	case audit.Metadata:
		m, err = e.Metadata(ctx, o.caller, p)
	case audit.Update:
		m, err = e.Update(ctx, o.caller, secret.UpdateRequest{
			Path: p, Description: o.description, Tags: o.tags, RotateAfterDays: o.days, MaxVersions: o.maximum, Access: o.access,
			ExpectedVersion: o.expected,
		})
	case audit.Undelete:
		m, err = e.Undelete(ctx, o.caller, p)
	case audit.Rollback:
		m, err = e.Rollback(ctx, o.caller, ref, o.expected)
	case audit.Promote:
		m, err = e.Promote(ctx, o.caller, p, o.expected)
	default:
		if err = o.remove(ctx, e, p); err == nil {
			return done
		}
	}
	if err != nil {
		return outcomeOf(err)
	}
	return describeMetadata(m)
}

func (o operation) write(ctx context.Context, e *vault.Engine, p secret.Path) (secret.Metadata, error) {
	value, err := secret.NewValue([]byte(o.value))
	if err != nil {
		return secret.Metadata{}, err
	}
	r := secret.PutRequest{
		Path: p, Value: value, Description: o.description, Tags: o.tags, RotateAfterDays: o.days, Access: o.access,
		ExpectedVersion: o.expected, Pending: o.pending, MaxVersions: o.maximum, IdempotencyKey: o.key,
	}
	if o.action == audit.Rotate {
		return e.Rotate(ctx, o.caller, r)
	}
	return e.Put(ctx, o.caller, r)
}

func (o operation) remove(ctx context.Context, e *vault.Engine, p secret.Path) error {
	switch o.action {
	case audit.Delete:
		return e.Delete(ctx, o.caller, p)
	case audit.Destroy:
		return e.Destroy(ctx, o.caller, p)
	case audit.DeleteVersions:
		return e.DeleteVersions(ctx, o.caller, p, o.versions...)
	case audit.UndeleteVersions:
		return e.UndeleteVersions(ctx, o.caller, p, o.versions...)
	case audit.DestroyVersions:
		return e.DestroyVersions(ctx, o.caller, p, o.versions...)
	default:
		panic("no operation is called " + string(o.action))
	}
}

// outcomeOf names an error by its most telling kind.
func outcomeOf(err error) string {
	for _, known := range []struct {
		err  error
		name string
	}{
		{secret.ErrVersionDeleted, isDeleted},
		{secret.ErrVersionDestroyed, isDestroyed},
		{secret.ErrVersionIsCurrent, isCurrent},
		{secret.ErrKeyReused, keyReused},
		{secret.ErrVersionNotFound, noVersion},
		{secret.ErrConflict, conflict},
		{secret.ErrDenied, denied},
		{secret.ErrInvalid, invalid},
		{secret.ErrUnavailable, unknown},
		{secret.ErrTampered, isTampered},
	} {
		if errors.Is(err, known.err) {
			return known.name
		}
	}
	return err.Error()
}

// String is o as a failed test prints it.
func (o operation) String() string {
	text := fmt.Sprintf("%s %s by %s", o.action, o.path, o.caller)
	for _, part := range []struct {
		show  bool
		name  string
		value any
	}{
		{o.version != 0, "version", o.version},
		{o.label != "", "label", o.label},
		{len(o.versions) > 0, "versions", o.versions},
		{o.expected != nil, "expecting", deref(o.expected)},
		{o.value != "", "value", o.value},
		{o.pending, "pending", true},
		{o.key != "", "key", o.key},
		{o.description != nil, "description", deref(o.description)},
		{o.tags != nil, "tags", o.tags},
		{o.days != nil, "days", deref(o.days)},
		{o.maximum != nil, "maximum", deref(o.maximum)},
		{o.access != nil, "access", deref(o.access)},
	} {
		if part.show {
			text += fmt.Sprintf(" %s %v", part.name, part.value)
		}
	}
	return text
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
