package coffertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// caller is the name of the one caller there is.
const caller = "tester"

// cluster is the name of the caller's.
const cluster = "coffertest"

// maxValueBytes is Coffer's largest value.
const maxValueBytes = 1 << 20

// secret is a path with its versions. What the zero secret has is what a new path has.
type secret struct {
	about   sdk.Metadata // description, tags and so on
	deleted bool
	// destroyed says that it cannot be undeleted; it is deleted as well.
	destroyed bool
	// versions are all that were ever written, by number from 1; nil for the number that a
	// deletion took. Those before first are of before a deletion.
	versions                          []*version
	first, current, previous, pending int64
}

type version struct {
	number  int64
	value   []byte // nil when destroyed
	state   string
	at      time.Time
	deleted time.Time // when on its own
	ended   time.Time // when destroyed
}

func (s *secret) at(number int64) *version { return s.versions[number-1] }

func (s *secret) labels(number int64) []string {
	labels := []string{}
	for _, l := range []struct {
		name   string
		number int64
	}{{sdk.LabelCurrent, s.current}, {sdk.LabelPrevious, s.previous}, {sdk.LabelPending, s.pending}} {
		if l.number == number {
			labels = append(labels, l.name)
		}
	}
	return labels
}

func (s *secret) describe(v *version) sdk.Metadata {
	m := s.about
	m.Version, m.Labels, m.CreatedAt, m.CreatedBy = v.number, s.labels(v.number), v.at, "user:"+caller
	return m
}

func (s *secret) list() []sdk.Version {
	all := []sdk.Version{}
	for number := int64(len(s.versions)); number >= s.first; number-- {
		if v := s.at(number); v != nil {
			all = append(all, sdk.Version{
				Version: number, Labels: s.labels(number), State: v.state, CreatedAt: v.at, CreatedBy: "user:" + caller, DeletedAt: v.deleted, DestroyedAt: v.ended,
			})
		}
	}
	return all
}

// version finds a version by number or label; the current one when which is empty.
func (s *secret) version(which string) (*version, *sdk.Problem) {
	number, err := strconv.ParseInt(which, 10, 64)
	switch {
	case which == "", which == sdk.LabelCurrent:
		number = s.current
	case which == sdk.LabelPrevious:
		number = s.previous
	case which == sdk.LabelPending:
		number = s.pending
	case err != nil || number < 1:
		return nil, problem(http.StatusUnprocessableEntity, sdk.CodeInvalid, "a version is a number from 1, or current, previous or pending")
	}
	if number < s.first || number == 0 || number > int64(len(s.versions)) || s.at(number) == nil || s.at(number).state != sdk.VersionLive {
		return nil, problem(http.StatusNotFound, sdk.CodeVersionNotFound, "the path has no such version")
	}
	return s.at(number), nil
}

func denied() *sdk.Problem {
	return problem(http.StatusNotFound, sdk.CodeNotFoundOrDenied, "the path does not exist, or you may not do this")
}

// known finds a path that is not denied, also one that is deleted or destroyed. This and
// what follows is called with s.mu held.
func (s *Server) known(path string) (*secret, *sdk.Problem) {
	if p := checkPath(path); p != nil {
		return nil, p
	}
	found := s.secrets[path]
	if found == nil || s.denied[path] {
		return nil, denied()
	}
	return found, nil
}

// live finds a path that exists and is not denied.
func (s *Server) live(path string) (*secret, *sdk.Problem) {
	found, p := s.known(path)
	if p == nil && found.deleted {
		return nil, denied()
	}
	return found, p
}

// gone finds a path that is deleted and not denied.
func (s *Server) gone(path string) (*secret, *sdk.Problem) {
	found, p := s.known(path)
	if p == nil && !found.deleted {
		return nil, denied()
	}
	return found, p
}

func expect(expected *int64, current int64) *sdk.Problem {
	if expected != nil && *expected != current {
		return problem(http.StatusConflict, sdk.CodeConflict, "the current version is not the expected one: expected %d, it is %d", *expected, current)
	}
	return nil
}

// answered is a write that was answered.
type answered struct {
	request [sha256.Size]byte
	written sdk.Metadata
}

// once gives a request whose idempotency key was seen the answer of before.
func (s *Server) once(r *http.Request, path string, request any, write func() (sdk.Metadata, *sdk.Problem)) (any, *sdk.Problem) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return result(write())
	}
	encoded, err := json.Marshal(request)
	if err != nil {
		return nil, problem(http.StatusInternalServerError, sdk.CodeInternal, "the request cannot be encoded")
	}
	sum := sha256.Sum256(append([]byte(r.Method+" "+r.URL.Path+" "), encoded...))
	name := path + " " + key
	if first, ok := s.answers[name]; ok && !s.denied[path] {
		if first.request != sum {
			return nil, problem(http.StatusConflict, sdk.CodeConflict, "the idempotency key was used for another request; send a new key with a new request")
		}
		return first.written, nil
	}
	written, p := write()
	if p == nil {
		s.answers[name] = answered{sum, written}
	}
	return result(written, p)
}

// result keeps an empty answer from standing beside a problem.
func result(m sdk.Metadata, p *sdk.Problem) (any, *sdk.Problem) {
	if p != nil {
		return nil, p
	}
	return m, nil
}

func (s *Server) write(path string, r sdk.PutRequest, mustExist bool) (sdk.Metadata, *sdk.Problem) {
	if p := checkPath(path); p != nil {
		return sdk.Metadata{}, p
	}
	if len(r.Value) > maxValueBytes {
		return sdk.Metadata{}, problem(http.StatusRequestEntityTooLarge, sdk.CodeTooLarge, "the value has %d bytes; at most %d are allowed", len(r.Value), maxValueBytes)
	}
	if s.denied[path] {
		return sdk.Metadata{}, denied()
	}
	found := s.secrets[path]
	exists := found != nil && !found.deleted
	if mustExist && !exists {
		return sdk.Metadata{}, denied()
	}
	var current int64
	if exists {
		current = found.current
	}
	if p := expect(r.ExpectedVersion, current); p != nil {
		return sdk.Metadata{}, p
	}
	if r.Pending && !exists {
		return sdk.Metadata{}, problem(http.StatusBadRequest, sdk.CodeInvalid, "the first version of a path cannot be pending; write it without")
	}
	if !exists {
		begun := &secret{}
		if found != nil {
			begun.versions = found.versions
		}
		begun.first = int64(len(begun.versions)) + 1
		begun.about = sdk.Metadata{Path: path, Access: sdk.AccessPolicy{AllowedServices: []string{}, AllowedEnvironments: []string{}}}
		found = begun
		s.secrets[path] = found
	}
	v := &version{number: int64(len(found.versions)) + 1, value: bytes.Clone(r.Value), state: sdk.VersionLive, at: time.Now().UTC()}
	if v.value == nil {
		v.value = []byte{}
	}
	found.versions = append(found.versions, v)
	kind := sdk.EventPut
	switch {
	case r.Pending:
		found.pending, kind = v.number, sdk.EventPending
	default:
		found.previous, found.current = found.current, v.number
		if mustExist {
			kind = sdk.EventRotate
		}
	}
	found.apply(r)
	found.prune()
	s.feed.add(sdk.Event{Kind: kind, Path: path, Version: found.current})
	return found.describe(v), nil
}

// apply sets what the request gives.
func (s *secret) apply(r sdk.PutRequest) {
	if r.Description != nil {
		s.about.Description = *r.Description
	}
	if r.Tags != nil {
		s.about.Tags = maps.Clone(r.Tags)
	}
	if r.RotateAfterDays != nil {
		s.about.RotateAfterDays = *r.RotateAfterDays
	}
	if r.MaxVersions != nil {
		s.about.MaxVersions = *r.MaxVersions
	}
	if r.Access != nil {
		s.about.Access = *r.Access
	}
}

// prune destroys the oldest versions beyond the maximum, but none that has a label.
func (s *secret) prune() {
	kept := 0
	var surplus []*version
	for _, v := range s.versions[s.first-1:] {
		if v == nil || v.state == sdk.VersionDestroyed {
			continue
		}
		kept++
		if len(s.labels(v.number)) == 0 {
			surplus = append(surplus, v)
		}
	}
	for _, v := range surplus {
		if s.about.MaxVersions == 0 || kept <= s.about.MaxVersions {
			return
		}
		v.destroy()
		kept--
	}
}

func (s *Server) remove(path string) *sdk.Problem {
	found, p := s.live(path)
	if p != nil {
		return p
	}
	found.deleted = true
	found.versions = append(found.versions, nil)
	s.feed.add(sdk.Event{Kind: sdk.EventDelete, Path: path, Version: found.current})
	return nil
}

func (s *Server) undelete(path string) (any, *sdk.Problem) {
	found, p := s.known(path)
	if p != nil {
		return nil, p
	}
	if found.destroyed {
		return nil, problem(http.StatusNotFound, sdk.CodeVersionNotFound, "the path is destroyed, and its values gone for good")
	}
	if found.deleted {
		found.deleted = false
		s.feed.add(sdk.Event{Kind: sdk.EventUndelete, Path: path, Version: found.current})
	}
	return found.describe(found.at(found.current)), nil
}

// relabel makes a version current.
func (s *Server) relabel(path, which string, kind sdk.EventKind, expected *int64) (any, *sdk.Problem) {
	found, p := s.live(path)
	if p != nil {
		return nil, p
	}
	if p := expect(expected, found.current); p != nil {
		return nil, p
	}
	v, p := found.version(which)
	if p != nil {
		return nil, p
	}
	if v.number != found.current {
		found.previous, found.current = found.current, v.number
		if found.pending == v.number {
			found.pending = 0
		}
		s.feed.add(sdk.Event{Kind: kind, Path: path, Version: found.current})
	}
	return found.describe(v), nil
}

// list describes up to limit paths below prefix after a path, in byte order.
func (s *Server) list(prefix, after string, limit int) []sdk.Metadata {
	items := []sdk.Metadata{}
	for _, path := range slices.Sorted(maps.Keys(s.secrets)) {
		found := s.secrets[path]
		if !below(path, prefix) || path <= after || found.deleted || s.denied[path] || len(items) == limit {
			continue
		}
		items = append(items, found.describe(found.at(found.current)))
	}
	return items
}
