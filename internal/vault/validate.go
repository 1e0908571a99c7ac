package vault

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Limits of what stands beside a value: generous for people, and small enough
// that lists stay cheap.
const (
	maxDescriptionBytes = 4 << 10
	maxTags             = 64
	maxTagKeyBytes      = 128
	maxTagValueBytes    = 1 << 10
	maxRotateAfterDays  = 36500 // a century
	maxAccessEntries    = 256
	maxAccessEntryBytes = 320 // a namespace (63), "/", and a service account (253)
)

// validate refuses a request that the store could not hold or policy not match.
func validate(r secret.PutRequest) error {
	if r.Path.IsZero() {
		return fmt.Errorf("%w: no path was given", secret.ErrInvalid)
	}
	if r.Path.IsReserved() {
		return fmt.Errorf("%w: %s is a path of the vault itself; choose one that does not begin with sys", secret.ErrInvalid, r.Path)
	}
	if r.Value.Len() > secret.MaxValueBytes {
		return fmt.Errorf("%w: it has %d bytes; at most %d are allowed", secret.ErrInvalidValue, r.Value.Len(), secret.MaxValueBytes)
	}
	if r.Description != nil {
		if err := validateText("the description", *r.Description, maxDescriptionBytes); err != nil {
			return err
		}
	}
	if days := r.RotateAfterDays; days != nil && (*days < 0 || *days > maxRotateAfterDays) {
		return fmt.Errorf("%w: rotate after %d days; give 0 (never) to %d", secret.ErrInvalid, *days, maxRotateAfterDays)
	}
	if version := r.ExpectedVersion; version != nil && *version < 0 {
		return fmt.Errorf("%w: expected version %d; versions count from 1, and 0 is a path that does not exist", secret.ErrInvalid, *version)
	}
	if keep := r.MaxVersions; keep != nil && (*keep < 0 || *keep > secret.MaxVersionsLimit) {
		return fmt.Errorf("%w: at most %d versions; give 0 (keep all) to %d", secret.ErrInvalid, *keep, secret.MaxVersionsLimit)
	}
	if r.IdempotencyKey != "" {
		if err := secret.CheckIdempotencyKey(r.IdempotencyKey); err != nil {
			return err
		}
	}
	if err := validateTags(r.Tags); err != nil {
		return err
	}
	return validateAccess(r.Access)
}

func validateTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%w: %d tags; at most %d are allowed", secret.ErrInvalid, len(tags), maxTags)
	}
	for key, value := range tags {
		if key == "" {
			return fmt.Errorf("%w: a tag has no name; write name=value", secret.ErrInvalid)
		}
		if err := validateText("a tag's name", key, maxTagKeyBytes); err != nil {
			return err
		}
		if err := validateText("the tag "+key, value, maxTagValueBytes); err != nil {
			return err
		}
	}
	return nil
}

func validateAccess(access *secret.AccessPolicy) error {
	if access == nil {
		return nil
	}
	if len(access.AllowedServices) > maxAccessEntries || len(access.AllowedEnvironments) > maxAccessEntries {
		return fmt.Errorf("%w: an access policy has at most %d services and as many environments", secret.ErrInvalid, maxAccessEntries)
	}
	for _, service := range access.AllowedServices {
		if err := validateText("an allowed service", service, maxAccessEntryBytes); err != nil {
			return err
		}
		if !isServicePattern(service) {
			return fmt.Errorf("%w: allowed service %q; write namespace/serviceaccount, namespace/* or *", secret.ErrInvalid, service)
		}
	}
	for _, environment := range access.AllowedEnvironments {
		if err := validateText("an allowed environment", environment, maxAccessEntryBytes); err != nil {
			return err
		}
		if environment == "" {
			return fmt.Errorf("%w: an allowed environment is empty; write its name, or *", secret.ErrInvalid)
		}
	}
	return nil
}

func isServicePattern(s string) bool {
	if s == "*" {
		return true
	}
	namespace, name, ok := strings.Cut(s, "/")
	return ok && namespace != "" && !strings.Contains(namespace, "*") &&
		(name == "*" || name != "" && !strings.ContainsAny(name, "*/"))
}

// validateText refuses what Postgres text cannot hold.
func validateText(what, s string, limit int) error {
	switch {
	case len(s) > limit:
		return fmt.Errorf("%w: %s has %d bytes; at most %d are allowed", secret.ErrInvalid, what, len(s), limit)
	case !utf8.ValidString(s), strings.ContainsRune(s, 0):
		return fmt.Errorf("%w: %s is not text: it must be UTF-8 without NUL", secret.ErrInvalid, what)
	}
	return nil
}
