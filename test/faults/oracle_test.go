//go:build failpoints

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// history is what the worker was told, by path.
type history struct {
	events []event
	paths  map[string]*state
}

// state is what must be true of a path. Where an operation was cut off, one of two things is.
type state struct {
	live    bool
	current int64
	// highest is the highest number that was acknowledged, in any life of the path.
	highest int64
	// values are those of the present life, by version.
	values map[int64]string
	// cut are the operations that were cut off since the last acknowledged one.
	cut []event
}

func readHistory(t *testing.T, file string) *history {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{paths: map[string]*state{}}
	for line := range bytes.Lines(text) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("the worker's log: %v", err)
		}
		h.events = append(h.events, e)
	}
	return h
}

// replay follows the log, and returns violations that it shows by itself: a number given twice, a read that went back.
func (h *history) replay() (i1, i2 []string) {
	for n, e := range h.events {
		s := h.paths[e.Path]
		if s == nil {
			s = &state{values: map[int64]string{}}
			h.paths[e.Path] = s
		}
		if !e.Done {
			next := event{}
			if n+1 < len(h.events) {
				next = h.events[n+1]
			}
			if !next.Done || next.Request != e.Request {
				s.cut = append(s.cut, e)
			}
			continue
		}
		switch {
		case e.Op == "read":
			i1 = append(i1, s.judgeRead(e)...)
		case e.Refused:
		case e.Op == "put" || e.Op == "rotate":
			if e.Version <= s.highest {
				i2 = append(i2, fmt.Sprintf("%s version %d was given after %d", e.Path, e.Version, s.highest))
			}
			if !s.live {
				s.values = map[int64]string{}
			}
			s.live, s.current, s.highest, s.cut = true, e.Version, e.Version, nil
			s.values[e.Version] = e.Value
		case e.Op == "delete":
			s.live, s.cut = false, nil
		}
	}
	return i1, i2
}

// judgeRead says what is wrong with the answer to a read of the current version.
func (s *state) judgeRead(e event) []string {
	if e.Refused {
		if s.live && !s.cutBy("delete", "") {
			return []string{fmt.Sprintf("%s version %d was acknowledged, and the path is gone", e.Path, s.current)}
		}
		return nil
	}
	if s.live && e.Version == s.current && e.Value == s.values[s.current] {
		return nil
	}
	if e.Version > s.highest && (s.cutBy("put", e.Value) || s.cutBy("rotate", e.Value)) {
		return nil
	}
	return []string{fmt.Sprintf("%s: a read found version %d with a value that is not the acknowledged one of version %d", e.Path, e.Version, s.current)}
}

// cutBy reports whether an operation on the path was cut off that may have taken effect.
func (s *state) cutBy(op, value string) bool {
	for _, e := range s.cut {
		if e.Op == op && (value == "" || e.Value == value) {
			return true
		}
	}
	return false
}

// judge compares the vault with the history.
func (h *history) judge(ctx context.Context, engine *vault.Engine) (i1 []string) {
	for name, s := range h.paths {
		path, err := secret.ParsePath(name)
		if err != nil {
			return append(i1, err.Error())
		}
		current, err := engine.Read(ctx, admin("check"), secret.Ref{Path: path})
		if err != nil && !errors.Is(err, secret.ErrDenied) {
			i1 = append(i1, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		i1 = append(i1, s.judgeRead(event{
			Path: name, Version: current.Version, Value: string(current.Value.Bytes()), Refused: err != nil,
		})...)
		if !s.live || s.cutBy("delete", "") {
			continue
		}
		for version, value := range s.values {
			got, err := engine.Read(ctx, admin("check"), secret.Ref{Path: path, Version: version})
			if err != nil || string(got.Value.Bytes()) != value {
				i1 = append(i1, fmt.Sprintf("%s version %d was acknowledged and is not what was written: %v", name, version, err))
			}
		}
	}
	return i1
}

// unaudited returns what was served or written without a row in the audit log.
func (h *history) unaudited(t *testing.T, dsn string) (i4 []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), `SELECT action || ' ' || path || ' ' || version || ' ' || request_id FROM audit WHERE decision = 'allowed'`)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	audited := map[string]bool{}
	for _, row := range found {
		audited[row] = true
	}
	for _, e := range h.events {
		row := fmt.Sprintf("%s %s %d %s", e.Op, e.Path, e.Version, e.Request)
		if e.Done && !e.Refused && e.Version > 0 && !audited[row] {
			i4 = append(i4, "no audit row: "+row)
		}
	}
	// Also what was written and not acknowledged.
	rows, err = conn.Query(t.Context(), `SELECT s.path || ' ' || v.version FROM secret_versions v JOIN secrets s ON s.id = v.secret_id
		WHERE NOT EXISTS (SELECT FROM audit a WHERE a.path = s.path AND a.action IN ('put', 'rotate', 'delete')
			AND a.decision = 'allowed' AND a.version IN (v.version, v.version - 1))`)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range unknown {
		i4 = append(i4, "a version without an audit row: "+version)
	}
	return i4
}
