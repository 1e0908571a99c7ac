//go:build failpoints

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// history is what the worker was told, by path.
type history struct {
	events []event
	// done are the requests that were answered, and the idempotency keys of those.
	done  map[string]bool
	paths map[string]*state
}

// state is what can be true of a path. Each operation that was cut off widens it, each answer narrows it.
type state struct {
	can []model
	// highest is the highest number that was acknowledged, in any life of the path.
	highest int64
}

func readHistory(t *testing.T, file string) *history {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{done: map[string]bool{}, paths: map[string]*state{}}
	for line := range bytes.Lines(text) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("the worker's log: %v", err)
		}
		h.events = append(h.events, e)
		if e.Done {
			h.done[e.Request] = true
			if e.Key != "" {
				h.done[e.Key] = true
			}
		}
	}
	return h
}

// cut are the writes of a run that were not answered, not even when they were sent again.
func (h *history) cut(run string) (cut []event) {
	for _, e := range h.events {
		if e.Run == run && !h.done[e.Key] && e.writes() {
			cut = append(cut, e)
		}
	}
	return cut
}

// replay follows the log, and returns violations that it shows by itself: a number given twice, an answer that
// nothing that can be true explains.
func (h *history) replay() (i1, i2 []string) {
	for _, e := range h.events {
		if e.aboutNoPath() {
			continue
		}
		s := h.paths[e.Path]
		if s == nil {
			s = &state{can: []model{{}}}
			h.paths[e.Path] = s
		}
		switch {
		case e.Op == found:
			s.narrow(e.Value)
		case e.Done:
			i1 = append(i1, s.answered(e)...)
			if e.Refused || !e.writes() {
				continue
			}
			if e.Version <= s.highest && !e.Again {
				i2 = append(i2, fmt.Sprintf("%s version %d was given after %d", e.Path, e.Version, s.highest))
			}
			s.highest = max(s.highest, e.Version)
		case e.Failed == "" && !h.done[e.Request]:
			s.cutOff(e)
		}
	}
	return i1, i2
}

// answered leaves what explains the answer to e.
func (s *state) answered(e event) []string {
	var can models
	for _, m := range s.outcomes() {
		next, version, refused := m.apply(e)
		if refused == e.Refused && (refused || version == e.Version) {
			can.add(next.answered(e))
		}
	}
	if len(can.all) > 0 {
		s.can = can.all
		return nil
	}
	return []string{fmt.Sprintf("%s %s by %s answered version %d, refused %v; but it was %s", e.Op, e.Path, e.Request, e.Version, e.Refused, s)}
}

// cutOff adds what is true when e takes effect all the same, now or later.
func (s *state) cutOff(e event) {
	var can models
	for _, m := range s.can {
		can.add(m.unanswered(e))
	}
	s.can = can.all
}

// narrow leaves what looks as it was found, when nothing was late any more.
func (s *state) narrow(visible string) {
	var can models
	for _, m := range s.outcomes() {
		if m.visible() == visible {
			m.late = nil
			can.add(m)
		}
	}
	if len(can.all) > 0 { // or the check has said so
		s.can = can.all
	}
}

// outcomes are all that can be true now.
func (s *state) outcomes() []model {
	var can models
	for _, m := range s.can {
		for _, outcome := range m.outcomes() {
			can.add(outcome)
		}
	}
	return can.all
}

// models is a set.
type models struct {
	all  []model
	seen map[string]bool
}

func (s *models) add(m model) {
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	if key := m.key(); !s.seen[key] {
		s.seen[key] = true
		s.all = append(s.all, m)
	}
}

func (s *state) String() string {
	can := s.outcomes()
	text := can[0].visible()
	for _, m := range can[1:] {
		text += ", or " + m.visible()
	}
	return text
}

// judge compares the vault with the history. It returns what it found, to be noted, and what should not be so.
func (h *history) judge(ctx context.Context, engine *vault.Engine) (seen []event, i1 []string) {
	for name, s := range h.paths {
		is, err := look(ctx, engine, name)
		if err != nil {
			i1 = append(i1, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		seen = append(seen, event{Op: found, Path: name, Value: is})
		if !slices.ContainsFunc(s.outcomes(), func(m model) bool { return m.visible() == is }) {
			i1 = append(i1, fmt.Sprintf("%s is %s; it should be %s", name, is, s))
		}
	}
	return seen, i1
}

// look reads all that a caller can see of a path, in the form of model.visible.
func look(ctx context.Context, engine *vault.Engine, name string) (string, error) {
	path, err := secret.ParsePath(name)
	if err != nil {
		return "", err
	}
	versions, err := engine.Versions(ctx, admin("check"), path)
	if errors.Is(err, secret.ErrDenied) {
		return gone, nil
	}
	if err != nil {
		return "", err
	}
	metadata, err := engine.Metadata(ctx, admin("check"), path)
	if err != nil {
		return "", fmt.Errorf("its versions are listed, and its metadata: %w", err)
	}
	m := model{live: true, description: metadata.Description, versions: map[int64]version{}}
	for _, v := range versions {
		for _, label := range v.Labels {
			*map[secret.Label]*int64{secret.Current: &m.current, secret.Previous: &m.previous, secret.Pending: &m.pending}[label] = v.Version
		}
		read, err := engine.Read(ctx, admin("check"), secret.Ref{Path: path, Version: v.Version})
		switch {
		case err == nil && v.State == secret.Live:
			m.versions[v.Version] = version{value: string(read.Value.Bytes())}
		case errors.Is(err, secret.ErrVersionDeleted) && v.State == secret.Deleted:
			m.versions[v.Version] = version{deleted: true}
		case errors.Is(err, secret.ErrVersionDestroyed) && v.State == secret.Destroyed:
			m.versions[v.Version] = version{destroyed: true}
		default:
			return "", fmt.Errorf("version %d is %s and a read says: %w", v.Version, v.State, err)
		}
	}
	current, err := engine.Read(ctx, admin("check"), secret.Ref{Path: path})
	if err != nil || current.Version != m.current {
		return "", fmt.Errorf("version %d is current and a read gives %d: %w", m.current, current.Version, err)
	}
	return m.visible(), nil
}

// unaudited returns what was served or written without a row in the audit log.
func (h *history) unaudited(t *testing.T, dsn string) (i4 []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	audited := map[string]bool{}
	for _, row := range collect(t, conn, `SELECT action || ' ' || path || ' ' || version || ' ' || request_id FROM audit WHERE decision = 'allowed'
		UNION SELECT action || ' ' || path || ' ' || 0 || ' ' || request_id FROM audit WHERE decision = 'allowed'`) {
		audited[row] = true
	}
	for _, e := range h.events {
		row := fmt.Sprintf("%s %s %d %s", e.action(), e.Path, e.Version, e.Request)
		if e.Op == "keys" {
			row = fmt.Sprintf("key-add sys/keyring 0 %s", e.Request)
		}
		if e.Done && !e.Refused && (e.Op == "keys" || !e.aboutNoPath()) && !audited[row] {
			i4 = append(i4, "no audit row: "+row)
		}
		if e.Failed != "" && e.Op == "read" && e.Value != "" {
			i4 = append(i4, "a read failed and gave a value: "+row)
		}
	}
	for _, revision := range collect(t, conn, unauditedKeysets) {
		i4 = append(i4, "the keyset was changed without an audit row: "+revision)
	}
	for _, path := range collect(t, conn, unauditedChanges) {
		i4 = append(i4, "more changes than audit rows about them: "+path)
	}
	return i4
}

// unauditedChanges are what was written without an audit row, whether it was acknowledged or not: versions, and paths
// with more deletions or other changes than audit rows about such.
const unauditedChanges = `
	SELECT s.path || ' version ' || v.version FROM secret_versions v JOIN secrets s ON s.id = v.secret_id
	WHERE NOT v.deletion AND NOT EXISTS (SELECT FROM audit a WHERE a.path = s.path AND a.decision = 'allowed'
		AND a.action IN ('put', 'rotate', 'patch') AND a.version = v.version)
	UNION SELECT s.path || ' deletions' FROM secrets s
	WHERE (SELECT count(*) FROM secret_versions v WHERE v.secret_id = s.id AND v.deletion)
		> (SELECT count(*) FROM audit a WHERE a.path = s.path AND a.decision = 'allowed' AND a.action = 'delete')
	UNION SELECT s.path || ' changes' FROM secrets s
	WHERE (SELECT count(DISTINCT revision) FROM amendments m WHERE m.secret_id = s.id)
		> (SELECT count(*) FROM audit a WHERE a.path = s.path AND a.decision = 'allowed'
			AND a.action IN ('rollback', 'promote', 'update', 'undelete', 'destroy', 'delete-versions', 'undelete-versions', 'destroy-versions'))`

// unauditedKeysets are revisions of the keyset, from the one after the first to the present one, without an audit row: it names
// its revision.
const unauditedKeysets = `
	SELECT 'revision ' || n FROM generate_series(2, (SELECT max(revision) FROM key_encryption_keys)) AS n
	WHERE NOT EXISTS (SELECT FROM audit a WHERE a.path = 'sys/keyring' AND a.decision = 'allowed' AND a.rule LIKE '%; keyset revision ' || n)`

func collect(t *testing.T, conn *pgx.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}
