package sdk

import (
	"container/list"
	"time"
)

// entry is a value that a Cache keeps.
type entry struct {
	path   string
	secret Secret
	readAt time.Time
	// changed says that there is or may be another version by now.
	changed bool
	// outage is why the server could not be asked when it was tried last; it is not
	// asked again before retryAt.
	outage  error
	retryAt time.Time
}

// copy is the value as a caller gets it.
func (e *entry) copy(outage error) CachedSecret {
	return CachedSecret{Secret: withCopy(e.secret), ReadAt: e.readAt, Outage: outage}
}

// entries are by path, and in the order of their use. Whatever leaves has its value
// overwritten.
type entries struct {
	byPath map[string]*list.Element
	used   *list.List // of *entry, the last used first
}

func newEntries() *entries { return &entries{byPath: map[string]*list.Element{}, used: list.New()} }

// get returns nil when there is none.
func (s *entries) get(path string) *entry {
	at, ok := s.byPath[path]
	if !ok {
		return nil
	}
	s.used.MoveToFront(at)
	return at.Value.(*entry)
}

func (s *entries) put(path string, e *entry) {
	s.drop(path)
	e.path = path
	s.byPath[path] = s.used.PushFront(e)
}

func (s *entries) drop(path string) {
	at, ok := s.byPath[path]
	if !ok {
		return
	}
	clear(at.Value.(*entry).secret.Value)
	s.used.Remove(at)
	delete(s.byPath, path)
}

// shrink drops what was not used for the longest time, down to most.
func (s *entries) shrink(most int) {
	for s.used.Len() > most {
		s.drop(s.used.Back().Value.(*entry).path)
	}
}

func (s *entries) dropBefore(oldest time.Time) {
	for path, at := range s.byPath {
		if at.Value.(*entry).readAt.Before(oldest) {
			s.drop(path)
		}
	}
}

func (s *entries) dropAll() { s.shrink(0) }

// change marks an entry, so that it is read again at once.
func (s *entries) change(path string) {
	if at, ok := s.byPath[path]; ok {
		e := at.Value.(*entry)
		e.changed, e.retryAt = true, time.Time{}
	}
}

func (s *entries) changeAll() {
	for path := range s.byPath {
		s.change(path)
	}
}
