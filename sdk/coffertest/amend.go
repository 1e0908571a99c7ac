package coffertest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// maxNamedVersions is Coffer's.
const maxNamedVersions = 1000

// updateSecret changes what stands beside the value.
func (s *Server) updateSecret(r *http.Request, q url.Values) (any, *sdk.Problem) {
	var request sdk.UpdateRequest
	if p := decodeBody(r, &request); p != nil {
		return nil, p
	}
	kind, beside := sdk.EventMetadata, request.Description != nil || request.Tags != nil || request.RotateAfterDays != nil || request.MaxVersions != nil
	switch {
	case request.Access != nil:
		kind = sdk.EventAccess
	case !beside:
		return nil, problem(http.StatusBadRequest, sdk.CodeInvalid, "an update of nothing; give what to change")
	}
	found, p := s.live(q.Get("path"))
	if p != nil {
		return nil, p
	}
	if p := expect(request.ExpectedVersion, found.current); p != nil {
		return nil, p
	}
	before := found.about
	found.apply(sdk.PutRequest{
		Description: request.Description, Tags: request.Tags, RotateAfterDays: request.RotateAfterDays, MaxVersions: request.MaxVersions, Access: request.Access,
	})
	if !alike(before, found.about) {
		s.feed.add(sdk.Event{Kind: kind, Path: q.Get("path"), Version: found.current})
	}
	return found.describe(found.at(found.current)), nil
}

// alike reports whether the same stands beside two values.
func alike(a, b sdk.Metadata) bool {
	return a.Description == b.Description && a.RotateAfterDays == b.RotateAfterDays && a.MaxVersions == b.MaxVersions && maps.Equal(a.Tags, b.Tags) &&
		slices.Equal(a.Access.AllowedServices, b.Access.AllowedServices) && slices.Equal(a.Access.AllowedEnvironments, b.Access.AllowedEnvironments)
}

// destroySecret leaves nothing of a path but its numbers.
func (s *Server) destroySecret(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	path := q.Get("path")
	found, p := s.known(path)
	if p != nil {
		return nil, p
	}
	if found.destroyed {
		return nil, nil
	}
	for _, v := range found.versions {
		if v != nil && v.state != sdk.VersionDestroyed {
			v.destroy()
		}
	}
	found.deleted, found.destroyed, found.previous, found.pending = true, true, 0, 0
	found.about = sdk.Metadata{Path: path}
	s.feed.add(sdk.Event{Kind: sdk.EventDestroy, Path: path, Version: found.current})
	return nil, nil
}

// amendment is what becomes of single versions.
type amendment struct {
	from           []string // the states that change
	spares         bool     // the current version is refused
	needsValue     bool     // a destroyed version is refused
	change         func(*version)
	takesTheLabels bool
}

var (
	deleting = amendment{from: []string{sdk.VersionLive}, spares: true, needsValue: true, change: func(v *version) {
		v.state, v.deleted = sdk.VersionDeleted, time.Now().UTC()
	}}
	undeleting = amendment{from: []string{sdk.VersionDeleted}, needsValue: true, change: func(v *version) {
		v.state, v.deleted = sdk.VersionLive, time.Time{}
	}}
	destroying = amendment{from: []string{sdk.VersionLive, sdk.VersionDeleted}, spares: true, change: (*version).destroy, takesTheLabels: true}
)

// amendVersions changes all the versions that a request names, or none.
func (s *Server) amendVersions(a amendment) func(*http.Request, url.Values) (any, *sdk.Problem) {
	return func(r *http.Request, q url.Values) (any, *sdk.Problem) {
		numbers, p := namedVersions(r)
		if p != nil {
			return nil, p
		}
		found, p := s.live(q.Get("path"))
		if p != nil {
			return nil, p
		}
		named, p := found.named(numbers)
		if p != nil {
			return nil, p
		}
		for _, v := range named {
			switch {
			case a.spares && v.number == found.current:
				return nil, problem(http.StatusConflict, sdk.CodeConflict, "version %d is the current one; roll back or write another first, or delete the path", v.number)
			case a.needsValue && v.state == sdk.VersionDestroyed:
				return nil, problem(http.StatusNotFound, sdk.CodeVersionNotFound, "version %d is destroyed, and its value gone for good", v.number)
			}
		}
		changed := false
		for _, v := range named {
			if !slices.Contains(a.from, v.state) {
				continue
			}
			a.change(v)
			changed = true
			if a.takesTheLabels {
				found.unlabel(v.number)
			}
		}
		if changed {
			s.feed.add(sdk.Event{Kind: sdk.EventVersions, Path: q.Get("path"), Version: found.current})
		}
		return nil, nil
	}
}

// namedVersions are those of a request in order, each once.
func namedVersions(r *http.Request) ([]int64, *sdk.Problem) {
	var request sdk.VersionNumbers
	if p := decodeBody(r, &request); p != nil {
		return nil, p
	}
	if len(request.Versions) == 0 || len(request.Versions) > maxNamedVersions {
		return nil, problem(http.StatusUnprocessableEntity, sdk.CodeInvalid, "%d versions were named; name 1 to %d", len(request.Versions), maxNamedVersions)
	}
	numbers := slices.Compact(slices.Sorted(slices.Values(request.Versions)))
	if numbers[0] < 1 {
		return nil, problem(http.StatusBadRequest, sdk.CodeInvalid, "version %d; versions count from 1", numbers[0])
	}
	return numbers, nil
}

// named are the versions of these numbers, whatever their states.
func (s *secret) named(numbers []int64) ([]*version, *sdk.Problem) {
	var named []*version
	for _, number := range numbers {
		if number < s.first || number > int64(len(s.versions)) || s.at(number) == nil {
			return nil, problem(http.StatusNotFound, sdk.CodeVersionNotFound, "the path has no version %d", number)
		}
		named = append(named, s.at(number))
	}
	return named, nil
}

func (s *secret) unlabel(number int64) {
	if s.previous == number {
		s.previous = 0
	}
	if s.pending == number {
		s.pending = 0
	}
}

// destroy removes the value for good.
func (v *version) destroy() { v.value, v.state, v.ended = nil, sdk.VersionDestroyed, time.Now().UTC() }
