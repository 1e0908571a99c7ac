package vault_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// spec says what becomes of one path, one operation after the other, and what each
// answers. It shares no code with the engine. TestEngineIsAMap goes through operations
// with it one by one, TestVersionsAreLinearizable looks for an order of concurrent ones
// in which it gives all their answers.
//
// A spec is a value: apply changes none.
type spec struct {
	exists, live, destroyed                 bool
	current, previous, pending, first, last int64
	versions                                []specVersion // versions[0] is number 1
	// What stands beside the value: Description, Tags, RotateAfterDays, Access and
	// MaxVersions.
	beside secret.Metadata
	// keys are the requests that came with an idempotency key, by caller and key.
	keys map[string]specKey
}

// specVersion is a number that was given out. A tombstone is that of a deletion.
type specVersion struct {
	value                             string
	by                                string
	tombstone                         bool
	createdAt, deletedAt, destroyedAt time.Time
}

type specKey struct {
	request string
	version int64
	at      time.Time
}

// operation is one call of the engine about one path.
type operation struct {
	action audit.Action
	caller secret.Caller
	path   string
	// version and label name one version, and versions many.
	version  int64
	label    secret.Label
	versions []int64
	// expected, value and what follows are of writes, and what they have beside the
	// value also of updates.
	expected    *int64
	value       string
	pending     bool
	key         string
	description *string
	tags        map[string]string
	days        *int
	maximum     *int
	access      *secret.AccessPolicy
	// at is when the engine's clock stood at that time.
	at time.Time
}

// rights say what the caller of an operation may do on its path.
type rights func(policy.Capability) bool

// everything is the rights of an administrator.
func everything(policy.Capability) bool { return true }

// The outcomes that are no answers, as outcomeOf tells them from an error.
const (
	denied      = "denied"
	invalid     = "invalid"
	conflict    = "conflict"
	noVersion   = "no such version"
	isCurrent   = "is current"
	isDeleted   = "deleted"
	isDestroyed = "destroyed"
	keyReused   = "key reused"
	done        = "done"
)

// apply returns what follows from o, and its outcome.
func (s spec) apply(o operation, may rights) (spec, string) {
	if o.isInvalid() {
		return s, invalid
	}
	if !o.isAllowed(may) {
		return s, denied
	}
	switch o.action {
	case audit.Put, audit.Rotate:
		return s.write(o)
	case audit.Destroy, audit.Undelete:
		if !s.exists {
			return s, denied
		}
	default:
		if !s.live {
			return s, denied
		}
	}
	switch o.action {
	case audit.Read:
		number, outcome := s.find(o)
		if outcome == "" {
			outcome = describeRead(s.metadata(o.path, number), s.versions[number-1].value)
		}
		return s, outcome
	case audit.Metadata:
		return s, describeMetadata(s.metadata(o.path, s.current))
	case audit.Versions:
		return s, s.list()
	case audit.Update:
		return s.update(o)
	case audit.Delete:
		s.live = false
		return s.append(specVersion{tombstone: true, createdAt: o.at, by: o.caller.String()}), done
	case audit.Undelete:
		if s.destroyed {
			return s, isDestroyed
		}
		s.live = true
		return s, describeMetadata(s.metadata(o.path, s.current))
	case audit.Destroy:
		return s.destroy(o), done
	case audit.Rollback, audit.Promote:
		return s.relabel(o)
	default:
		return s.amendVersions(o)
	}
}

// isInvalid is what no state of the path makes good.
func (o operation) isInvalid() bool {
	switch o.action {
	case audit.DeleteVersions, audit.UndeleteVersions, audit.DestroyVersions:
		return len(o.versions) == 0 || slices.Min(o.versions) < 1
	case audit.Update:
		return o.description == nil && o.tags == nil && o.days == nil && o.maximum == nil && o.access == nil
	default:
		return o.version != 0 && o.label != ""
	}
}

func (o operation) isAllowed(may rights) bool {
	switch o.action {
	case audit.Read:
		return may(policy.Read)
	case audit.Metadata, audit.Versions:
		return may(policy.List) || may(policy.Read)
	case audit.Put:
		return may(policy.Write) && (o.access == nil || may(policy.Share))
	case audit.Rotate:
		return may(policy.Rotate) && (o.access == nil || may(policy.Share))
	case audit.Update:
		besides := o.description != nil || o.tags != nil || o.days != nil || o.maximum != nil
		return (!besides || may(policy.Write)) && (o.access == nil || may(policy.Share))
	case audit.Rollback, audit.Promote:
		return may(policy.Rotate)
	default:
		return may(policy.Delete)
	}
}

func (s spec) write(o operation) (spec, string) {
	if o.action == audit.Rotate && !s.live {
		return s, denied
	}
	// The key of one caller is not that of another.
	name := o.caller.Cluster + " " + o.caller.String() + " " + o.key
	if known, ok := s.keys[name]; ok && s.exists && o.key != "" && o.at.Sub(known.at) < 24*time.Hour {
		if known.request != o.request() {
			return s, keyReused
		}
		return s, s.repeated(o, known.version)
	}
	current := int64(0)
	if s.live {
		current = s.current
	}
	if o.expected != nil && *o.expected != current {
		return s, conflict
	}
	if !s.live {
		if o.pending {
			return s, invalid
		}
		s = spec{exists: true, live: true, first: s.last + 1, last: s.last, versions: s.versions, keys: s.keys}
	}
	s = s.append(specVersion{value: o.value, by: o.caller.String(), createdAt: o.at})
	if o.pending {
		s.pending = s.last
	} else {
		s.previous, s.current = s.current, s.last
	}
	s = s.with(o).prune(o)
	if o.key != "" {
		s.keys = maps.Clone(s.keys)
		if s.keys == nil {
			s.keys = map[string]specKey{}
		}
		s.keys[name] = specKey{o.request(), s.last, o.at}
	}
	return s, describeMetadata(s.metadata(o.path, s.last))
}

// request tells writes with one idempotency key apart.
func (o operation) request() string {
	show := func(p any) string { return fmt.Sprintf("%+v", p) }
	text := show([]any{o.action, o.path, o.value, o.pending, o.tags, o.tags == nil})
	if o.expected != nil {
		text += " expected " + show(*o.expected)
	}
	if o.description != nil {
		text += " description " + *o.description
	}
	if o.days != nil {
		text += " days " + show(*o.days)
	}
	if o.maximum != nil {
		text += " maximum " + show(*o.maximum)
	}
	if o.access != nil {
		text += " access " + show(*o.access)
	}
	return text
}

// repeated is the answer to a write that was done before. When the path lives another
// life now, only the version is told.
func (s spec) repeated(o operation, version int64) string {
	if !s.live || version < s.first {
		v := s.versions[version-1]
		return describeMetadata(secret.Metadata{Path: path(o.path), Version: version, CreatedAt: v.createdAt, CreatedBy: v.by})
	}
	return describeMetadata(s.metadata(o.path, version))
}

// append gives the next number out.
func (s spec) append(v specVersion) spec {
	s.versions = append(slices.Clone(s.versions), v)
	s.last++
	return s
}

// with sets what the request gives beside the value.
func (s spec) with(o operation) spec {
	if o.description != nil {
		s.beside.Description = *o.description
	}
	if o.tags != nil {
		s.beside.Tags = o.tags
	}
	if o.days != nil {
		s.beside.RotateAfterDays = *o.days
	}
	if o.maximum != nil {
		s.beside.MaxVersions = *o.maximum
	}
	if o.access != nil {
		s.beside.Access = *o.access
	}
	return s
}

// prune destroys the oldest versions without a label while there are too many.
func (s spec) prune(o operation) spec {
	if s.beside.MaxVersions == 0 {
		return s
	}
	s.versions = slices.Clone(s.versions)
	for number := s.first; number <= s.last; number++ {
		kept := 0
		for _, v := range s.versions[s.first-1:] {
			if !v.tombstone && v.destroyedAt.IsZero() {
				kept++
			}
		}
		if kept <= s.beside.MaxVersions {
			break
		}
		if v := &s.versions[number-1]; !v.tombstone && v.destroyedAt.IsZero() && len(s.labels(number)) == 0 {
			v.destroyedAt = o.at
		}
	}
	return s
}

func (s spec) update(o operation) (spec, string) {
	if o.expected != nil && *o.expected != s.current {
		return s, conflict
	}
	s = s.with(o)
	return s, describeMetadata(s.metadata(o.path, s.current))
}

func (s spec) destroy(o operation) spec {
	if s.destroyed {
		return s
	}
	s.versions = slices.Clone(s.versions)
	for i := range s.versions {
		if v := &s.versions[i]; !v.tombstone && v.destroyedAt.IsZero() {
			v.destroyedAt = o.at
		}
	}
	s.live, s.destroyed, s.previous, s.pending, s.beside = false, true, 0, 0, secret.Metadata{}
	return s
}

// find is the number that o names, and why it cannot be used.
func (s spec) find(o operation) (number int64, outcome string) {
	number = o.version
	switch {
	case o.label == secret.Previous:
		number = s.previous
	case o.label == secret.Pending:
		number = s.pending
	case number == 0:
		number = s.current
	}
	if number < s.first || number > s.last || s.versions[number-1].tombstone {
		return number, noVersion
	}
	switch v := s.versions[number-1]; {
	case !v.destroyedAt.IsZero():
		return number, isDestroyed
	case !v.deletedAt.IsZero():
		return number, isDeleted
	}
	return number, ""
}

func (s spec) relabel(o operation) (spec, string) {
	if o.expected != nil && *o.expected != s.current {
		return s, conflict
	}
	if o.action == audit.Promote {
		o.version, o.label = 0, secret.Pending
	} else if o.version == 0 && o.label == "" {
		o.label = secret.Previous
	}
	number, outcome := s.find(o)
	if outcome != "" {
		return s, outcome
	}
	if number != s.current {
		s.previous, s.current = s.current, number
		if s.pending == number {
			s.pending = 0
		}
	}
	return s, describeMetadata(s.metadata(o.path, number))
}

// amendVersions changes the states of single versions: of all, or of none.
func (s spec) amendVersions(o operation) (spec, string) {
	numbers := slices.Compact(slices.Sorted(slices.Values(o.versions)))
	for _, number := range numbers {
		if number < s.first || number > s.last || s.versions[number-1].tombstone {
			return s, noVersion
		}
	}
	next := s
	next.versions = slices.Clone(s.versions)
	for _, number := range numbers {
		v := &next.versions[number-1]
		switch {
		case o.action != audit.UndeleteVersions && number == s.current:
			return s, isCurrent
		case o.action != audit.DestroyVersions && !v.destroyedAt.IsZero():
			return s, isDestroyed
		case o.action == audit.DeleteVersions && v.deletedAt.IsZero():
			v.deletedAt = o.at
		case o.action == audit.UndeleteVersions:
			v.deletedAt = time.Time{}
		case o.action == audit.DestroyVersions && v.destroyedAt.IsZero():
			v.destroyedAt = o.at
			if next.previous == number {
				next.previous = 0
			}
			if next.pending == number {
				next.pending = 0
			}
		}
	}
	return next, done
}

func (s spec) labels(number int64) (labels []secret.Label) {
	for _, l := range []struct {
		label  secret.Label
		number int64
	}{{secret.Current, s.current}, {secret.Previous, s.previous}, {secret.Pending, s.pending}} {
		if l.number == number {
			labels = append(labels, l.label)
		}
	}
	return labels
}

func (s spec) metadata(p string, number int64) secret.Metadata {
	m, v := s.beside, s.versions[number-1]
	m.Path, m.Version, m.Labels, m.CreatedAt, m.CreatedBy = path(p), number, s.labels(number), v.createdAt, v.by
	return m
}

// list is the outcome of Versions.
func (s spec) list() string {
	var found []secret.Version
	for number := s.last; number >= s.first; number-- {
		v := s.versions[number-1]
		state := secret.Live
		switch {
		case v.tombstone:
			continue
		case !v.destroyedAt.IsZero():
			state = secret.Destroyed
		case !v.deletedAt.IsZero():
			state = secret.Deleted
		}
		found = append(found, secret.Version{
			Version: number, Labels: s.labels(number), State: state, CreatedAt: v.createdAt, CreatedBy: v.by,
			DeletedAt: v.deletedAt, DestroyedAt: v.destroyedAt,
		})
	}
	return fmt.Sprint(found)
}

// path parses what the tests themselves wrote.
func path(s string) secret.Path {
	p, err := secret.ParsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

func describeMetadata(m secret.Metadata) string { return fmt.Sprintf("%+v", m) }

func describeRead(m secret.Metadata, value string) string {
	return describeMetadata(m) + " is " + value
}
