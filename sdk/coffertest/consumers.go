package coffertest

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// readerWindow is how long a read counts, as Coffer has it by default.
const readerWindow = 24 * time.Hour

// noteRead remembers that the caller has a version of path.
func (s *Server) noteRead(path string, version int64) {
	if s.held[path] == nil {
		s.held[path] = map[int64]time.Time{}
	}
	s.held[path][version] = time.Now()
}

// listConsumers has the one caller only: there are no VaultSecrets.
func (s *Server) listConsumers(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	path := q.Get("path")
	if _, p := s.live(path); p != nil {
		return nil, p
	}
	out := sdk.ConsumerList{Items: []sdk.Consumer{}}
	for version, at := range s.held[path] {
		out.Items = append(out.Items, sdk.Consumer{
			Kind: sdk.ConsumerUser, Cluster: cluster, Name: caller, Version: version, State: sdk.ConsumerCached, Since: at, SeenAt: at,
		})
	}
	slices.SortFunc(out.Items, func(a, b sdk.Consumer) int { return b.Since.Compare(a.Since) })
	if len(out.Items) > 0 {
		out.Items[0].State = sdk.ConsumerReading
	}
	out.Items = slices.DeleteFunc(out.Items, func(c sdk.Consumer) bool {
		if c.State == sdk.ConsumerReading {
			return time.Since(c.Since) > readerWindow
		}
		return time.Since(c.Since) > sdk.MaxCacheAge
	})
	slices.SortFunc(out.Items, func(a, b sdk.Consumer) int { return cmp.Compare(a.Version, b.Version) })
	return out, nil
}
