package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coffer-vault/coffer/internal/cli/manifest"
	"github.com/coffer-vault/coffer/internal/cli/source"
	"github.com/coffer-vault/coffer/sdk"
)

// plan is what an import is about to do.
type plan struct {
	targets []*target
	// from is the cluster that was read, empty when none was; into is the vault, and whom it takes the caller to be.
	from, into string
}

// target is one path, and what it is to hold.
type target struct {
	path   string
	source *source.Source
	// items are the properties; with raw the one item is the value itself.
	items []item
	raw   bool

	// version is the current version of the path, 0 when it does not exist. readable is
	// false when it exists, and the caller may not read it.
	version  int64
	readable bool
	current  sdk.Metadata
	// deleted is the last version of a path that is deleted and could be undeleted; 0 otherwise.
	deleted int64
	// kept are the properties of the path that no item is about.
	kept map[string]string
	// plain says that the path holds a value without properties, where some are to be.
	plain bool
	// done says that the path holds all items now, and written is the version that this import wrote for it; 0 for none.
	done    bool
	written int64
}

// item is one key of a source.
type item struct {
	key    string
	value  []byte
	base64 bool // the property is the value in base64, since it is not text
	state  itemState
}

// itemState is how an item compares with the vault.
type itemState string

// The states.
const (
	stateNew       itemState = "new"
	stateUnchanged itemState = "unchanged"
	stateDiffers   itemState = "differs"
	stateDeleted   itemState = "deleted"
)

// newPlan says which key of which source goes where.
func newPlan(sources []source.Source, to string, split bool) (*plan, error) {
	p := &plan{}
	if len(sources) > 1 && !strings.HasSuffix(to, "/") {
		return nil, usagef("%d sources cannot go to one path; write --to %s/ for a path below it for each", len(sources), to)
	}
	taken := map[string]string{}
	for i := range sources {
		one := &sources[i]
		if len(one.Entries) == 0 {
			continue
		}
		base := to
		if strings.HasSuffix(to, "/") {
			base += pathSegment(baseName(*one))
		}
		for _, t := range targetsOf(one, base, split) {
			from := one.String()
			if split {
				from += " key " + t.items[0].key
			}
			if other, twice := taken[t.path]; twice {
				return nil, fmt.Errorf("%s and %s would both go to %s; import them one by one, each --to a path of its own", other, from, t.path)
			}
			taken[t.path] = from
			p.targets = append(p.targets, t)
		}
	}
	return p, nil
}

func targetsOf(one *source.Source, base string, split bool) []*target {
	if split {
		targets := make([]*target, len(one.Entries))
		for i, e := range one.Entries {
			targets[i] = &target{
				path: base + "/" + pathSegment(e.Key), source: one, raw: true, items: []item{{key: e.Key, value: e.Value, state: stateNew}},
			}
		}
		return targets
	}
	t := &target{path: base, source: one}
	for _, e := range one.Entries {
		t.items = append(t.items, item{key: e.Key, value: e.Value, base64: !utf8.Valid(e.Value), state: stateNew})
	}
	return []*target{t}
}

// pathSegment makes a segment of a path of any text. What it cannot be, such as "..", the
// server refuses with its reason.
func pathSegment(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '-'
		}
	}, text)
}

// text is the item as a property.
func (i item) text() string {
	if i.base64 {
		return base64.StdEncoding.EncodeToString(i.value)
	}
	return string(i.value)
}

// compare reads what the vault has, each path within limit, and tells progress how far it is.
func (p *plan) compare(ctx context.Context, client *sdk.Client, limit time.Duration, progress func(done, total int64)) error {
	for n, t := range p.targets {
		progress(int64(n), int64(len(p.targets)))
		if err := t.compareWithin(ctx, client, limit); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) compareWithin(ctx context.Context, client *sdk.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return withTimeoutHint(t.compare(ctx, client))
}

// withTimeoutHint names the flag by which a call that was not answered in time gets more of it.
func withTimeoutHint(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w; --timeout gives more time", err)
	}
	return err
}

func (t *target) compare(ctx context.Context, client *sdk.Client) error {
	found, err := client.Get(ctx, t.path)
	if sdk.CodeOf(err) == sdk.CodeNotFoundOrDenied {
		// There may be one that the caller may list, but not read.
		t.current, err = client.Metadata(ctx, t.path)
		if sdk.CodeOf(err) == sdk.CodeNotFoundOrDenied {
			return t.compareDeleted(ctx, client)
		}
		t.version = t.current.Version
		t.all(stateDiffers)
		return err
	}
	if err != nil {
		return fmt.Errorf("compare %s with the vault: %w", t.path, err)
	}
	defer clear(found.Value)
	t.current, t.version, t.readable = found.Metadata, found.Version, true
	if t.raw {
		t.items[0].state = stateOf(string(found.Value) == string(t.items[0].value))
		return nil
	}
	var properties map[string]*string
	if json.Unmarshal(found.Value, &properties) != nil || properties == nil || slices.Contains(slices.Collect(maps.Values(properties)), nil) {
		t.plain = true
		t.all(stateDiffers)
		return nil
	}
	t.kept = map[string]string{}
	for name, value := range properties {
		t.kept[name] = *value
	}
	for i := range t.items {
		if value, ok := t.kept[t.items[i].key]; ok {
			t.items[i].state = stateOf(value == t.items[i].text())
			delete(t.kept, t.items[i].key)
		}
	}
	return nil
}

// compareDeleted looks for versions that writing to the path would take away from undelete. Who may not know of
// them finds none.
func (t *target) compareDeleted(ctx context.Context, client *sdk.Client) error {
	versions, err := client.DeletedVersions(ctx, t.path)
	if sdk.CodeOf(err) == sdk.CodeNotFoundOrDenied {
		return nil
	}
	if err != nil {
		return fmt.Errorf("compare %s with the vault: %w", t.path, err)
	}
	for _, v := range versions {
		if v.State != sdk.VersionDestroyed {
			t.deleted = max(t.deleted, v.Version)
		}
	}
	if t.deleted > 0 {
		t.all(stateDeleted)
	}
	return nil
}

func stateOf(same bool) itemState {
	if same {
		return stateUnchanged
	}
	return stateDiffers
}

func (t *target) all(state itemState) {
	for i := range t.items {
		t.items[i].state = state
	}
}

// has reports whether an item has the state.
func (t *target) has(state itemState) bool {
	return slices.ContainsFunc(t.items, func(i item) bool { return i.state == state })
}

// unchanged reports whether there is nothing to write.
func (t *target) unchanged() bool { return !t.has(stateNew) && !t.has(stateDiffers) && t.deleted == 0 }

// value is what is written: the items, and the properties that stay.
func (t *target) value() ([]byte, error) {
	if t.raw {
		return t.items[0].value, nil
	}
	properties := maps.Clone(t.kept)
	if properties == nil {
		properties = map[string]string{}
	}
	for _, i := range t.items {
		properties[i.key] = i.text()
	}
	value, err := json.Marshal(properties)
	if err == nil && len(value) > maxValueBytes {
		err = fmt.Errorf("%s would hold more than %d bytes, the most that one version can; import with --split", t.path, maxValueBytes)
	}
	return value, err
}

// planRow is a line of the plan.
type planRow struct {
	Source   string    `json:"source"`
	Key      string    `json:"key"`
	Path     string    `json:"path"`
	Property string    `json:"property,omitempty"`
	Bytes    int       `json:"bytes"`
	State    itemState `json:"state"`
	Version  int64     `json:"version,omitempty"`
}

// rows are the plan as data. Values are told by their size only.
func (p *plan) rows() []planRow {
	rows := []planRow{}
	for _, t := range p.targets {
		for _, i := range t.items {
			row := planRow{Source: t.source.String(), Key: i.key, Path: t.path, Bytes: len(i.value), State: i.state, Version: max(t.version, t.deleted)}
			if !t.raw {
				row.Property = i.key
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// print shows the plan, and what is to be known about it.
func (p *plan) print(w io.Writer) error {
	rows := [][]string{}
	count := map[itemState]int{}
	for _, r := range p.rows() {
		count[r.State]++
		state := string(r.State)
		if r.State == stateDiffers || r.State == stateDeleted {
			state += fmt.Sprintf(" (version %d)", r.Version)
		}
		rows = append(rows, []string{r.Source, r.Key, r.Path, orDash(r.Property), fmt.Sprintf("%d B", r.Bytes), state})
	}
	if err := table(w, []string{"SOURCE", "KEY", "PATH", "PROPERTY", "SIZE", "STATE"}, rows); err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\n%d new, %d unchanged, %d differing", count[stateNew], count[stateUnchanged], count[stateDiffers])
	if n := count[stateDeleted]; n > 0 {
		fmt.Fprintf(&text, ", %d deleted", n)
	}
	fmt.Fprintf(&text, "; %s.\n%s\n", counted(p.toWrite(), "path", "to write"), printable(p.ways()))
	for _, note := range p.notes() {
		text.WriteString("Note: " + printable(note) + ".\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// ways says from which cluster into which vault, and as whom: no two of them need be of one login.
func (p *plan) ways() string {
	if p.from == "" {
		return "Into " + p.into + "."
	}
	return "From " + p.from + " into " + p.into + "."
}

// toWrite is how many paths are not as they are to be.
func (p *plan) toWrite() int {
	n := 0
	for _, t := range p.targets {
		if !t.unchanged() {
			n++
		}
	}
	return n
}

// counted is "1 path to write", "2 paths to write".
func counted(n int, thing, rest string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s %s", n, thing, rest)
}

func (p *plan) notes() []string {
	var notes []string
	for _, t := range p.targets {
		switch {
		case t.version > 0 && !t.readable:
			notes = append(notes, t.path+" exists and you may not read it, so it counts as differing, and is replaced as a whole")
		case t.deleted > 0:
			notes = append(notes, t.path+" is deleted, and cannot be undeleted once it is written to")
		case t.plain:
			notes = append(notes, t.path+" holds a value without properties, which is replaced as a whole")
		case len(t.kept) > 0:
			notes = append(notes, t.path+" keeps what the source does not have: "+strings.Join(slices.Sorted(maps.Keys(t.kept)), ", "))
		}
		for _, i := range t.items {
			if i.base64 {
				notes = append(notes, fmt.Sprintf("%s of %s is not text, and is kept in base64", i.key, t.source))
			}
		}
	}
	return notes
}

// keys says where each key of the target is, for a manifest.
func (t *target) keys() []manifest.Key {
	keys := make([]manifest.Key, len(t.items))
	for n, i := range t.items {
		keys[n] = manifest.Key{Name: i.key, Path: t.path, Base64: i.base64}
		if !t.raw {
			keys[n].Property = i.key
		}
	}
	return keys
}
