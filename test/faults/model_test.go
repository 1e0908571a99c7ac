//go:build failpoints

package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// model is one thing that can be true of a path: what its engine would answer. It predicts every number.
type model struct {
	exists, live, destroyed    bool
	current, previous, pending int64
	last                       int64
	description                string
	// versions are those of the present life, and of the last one when the path is deleted.
	versions map[int64]version
	// late are operations without an answer that did not take effect so far, and may yet: a connection that was silent
	// delivers a COMMIT after its client gave up.
	late []event
}

type version struct {
	value              string
	deleted, destroyed bool
}

// key is equal for equal models.
func (m model) key() string { return fmt.Sprintf("%+v", m) }

// visible is what a caller can see of it.
func (m model) visible() string {
	if !m.live {
		return gone
	}
	var b strings.Builder
	fmt.Fprintf(&b, "current %d previous %d pending %d, described %q:", m.current, m.previous, m.pending, m.description)
	for _, number := range slices.Sorted(maps.Keys(m.versions)) {
		fmt.Fprintf(&b, " %d is %s;", number, m.versions[number].visible())
	}
	return b.String()
}

const gone = "gone"

func (v version) visible() string {
	switch {
	case v.destroyed:
		return "destroyed"
	case v.deleted:
		return "deleted"
	}
	return v.value
}

// outcomes are m, and all that can follow from it when late operations take effect.
func (m model) outcomes() []model {
	can := []model{m}
	for i, e := range m.late {
		next, _, refused := m.apply(e)
		if refused {
			continue
		}
		next.late = slices.Delete(slices.Clone(m.late), i, i+1)
		can = append(can, next.outcomes()...)
	}
	return can
}

// answered is m when e was answered: of a write that was sent again, no part can be late any more.
func (m model) answered(e event) model {
	if e.Key != "" {
		m.late = slices.DeleteFunc(slices.Clone(m.late), func(late event) bool { return late.Key == e.Key })
	}
	return m
}

// unanswered is m when e was cut off.
func (m model) unanswered(e event) model {
	if e.Op == "read" || e.Key != "" && slices.ContainsFunc(m.late, func(late event) bool { return late.Key == e.Key }) {
		return m
	}
	e.Again = e.Key != "" // it takes effect once
	m.late = append(slices.Clone(m.late), e)
	return m
}

// apply returns what follows from an operation, the version that is answered, and whether it is refused.
func (m model) apply(e event) (next model, answer int64, refused bool) {
	m.versions = maps.Clone(m.versions)
	if e.Again {
		for number, v := range m.versions {
			if v.value == e.Value {
				return m, number, false
			}
		}
	}
	switch {
	case e.Op == "put":
		return m.write(e.Value, true)
	case e.Op == "destroy" && m.exists:
		return m.destroy(), 0, false
	case e.Op == "undelete" && m.exists && !m.destroyed:
		m.live = true
		return m, m.current, false
	case !m.live:
		return m, 0, true
	}
	switch e.Op {
	case "rotate", "patch":
		return m.write(e.Value, true)
	case "put-pending":
		return m.write(e.Value, false)
	case "read":
		return m, m.current, m.versions[m.current].value != e.Value && !e.Refused
	case "update":
		m.description = e.Value
		return m, m.current, false
	case "delete":
		m.live = false
		m.last++
		return m, 0, false
	case "rollback":
		return m.relabel(m.previous)
	case "promote":
		return m.relabel(m.pending)
	}
	return m.amend(e.Op, e.Version)
}

func (m model) write(value string, current bool) (model, int64, bool) {
	if !m.live {
		m = model{exists: true, live: true, last: m.last, versions: map[int64]version{}, late: m.late}
	}
	m.last++
	m.versions[m.last] = version{value: value}
	if current {
		m.previous, m.current = m.current, m.last
	} else {
		m.pending = m.last
	}
	return m, m.last, false
}

func (m model) destroy() model {
	if m.destroyed {
		return m
	}
	for number := range m.versions {
		m.versions[number] = version{destroyed: true}
	}
	m.live, m.destroyed, m.previous, m.pending = false, true, 0, 0
	return m
}

func (m model) relabel(to int64) (model, int64, bool) {
	if v, found := m.versions[to]; !found || v.deleted || v.destroyed {
		return m, 0, true
	}
	if to == m.current {
		return m, to, false
	}
	m.previous, m.current = m.current, to
	if to == m.pending {
		m.pending = 0
	}
	return m, to, false
}

// amend changes the state of one version.
func (m model) amend(op string, number int64) (model, int64, bool) {
	v, found := m.versions[number]
	switch {
	case !found, number == m.current && op != "undelete-versions", v.destroyed && op != "destroy-versions":
		return m, 0, true
	case op == "destroy-versions":
		v = version{destroyed: true}
		if number == m.previous {
			m.previous = 0
		}
		if number == m.pending {
			m.pending = 0
		}
	default:
		v.deleted = op == "delete-versions"
	}
	m.versions[number] = v
	return m, number, false
}
