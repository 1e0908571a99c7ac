package vault

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// rotationSync is who replaces the definitions of rotations: their controller, by no token.
var rotationSync = secret.Caller{Kind: secret.KindSystem, Name: "rotation-sync", Address: "operator"}

// Findings about stored rotations.
const (
	ruleRotationsMAC    = "the rotations fail their integrity check"
	ruleRotationsReplay = "the rotations are older than those known before"
)

// ReplaceRotations makes definitions all rotations of cluster. When nothing differs it writes nothing and reports false. A stored set
// that fails its integrity check is replaced, and the audit log says so: the truth about rotations is in Kubernetes. Runs that are
// under way go on as they were defined.
//
// Errors: secret.ErrInvalid, secret.ErrUnavailable.
func (e *Engine) ReplaceRotations(ctx context.Context, cluster string, definitions []rotation.Definition) (changed bool, err error) {
	ctx, done := e.begin(ctx, audit.RotationSync)
	defer func() { done(err) }()
	wanted, err := marshalRotations(cluster, definitions)
	if err != nil {
		return false, err
	}
	caller := rotationSync
	caller.Cluster = cluster
	newest := e.knownRotations(cluster) // before the set is locked and read: that can only be newer
	var inForce *store.RotationSet
	err = e.transact(ctx, audit.RotationSync, func(tx *store.Tx, record func(audit.Entry)) error {
		changed = false
		stored, err := tx.LockRotationSet(ctx, cluster)
		if err != nil {
			return err
		}
		next := &store.RotationSet{Rotations: slices.Clone(wanted)}
		finding := ""
		if stored != nil {
			if finding = e.rotationsFinding(cluster, stored, newest); finding != "" {
				record(newEntry(caller, audit.RotationSync, "", 0, audit.Failed, finding+" and are replaced"))
				e.logger.ErrorContext(ctx, "the stored rotations are replaced", "finding", finding, "cluster", cluster)
			}
			next.Revision = stored.Revision
		}
		sinceOf(next, stored, finding == "", e.now())
		if stored != nil && finding == "" && slices.EqualFunc(stored.Rotations, next.Rotations, sameRotation) {
			inForce = stored
			return nil
		}
		next.Revision = max(next.Revision, newest, e.now().Unix()) + 1
		next.MAC = e.rotationsMAC(cluster, next)
		tx.ReplaceRotationSet(cluster, next)
		record(newEntry(caller, audit.RotationSync, "", next.Revision, audit.Allowed, fmt.Sprintf("%d rotations of cluster %s", len(wanted), cluster)))
		inForce, changed = next, true
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("replace the rotations of cluster %q: %w", cluster, err)
	}
	e.rememberRotations(cluster, inForce.Revision)
	return changed, nil
}

// sinceOf says since when the rotations of next are defined. One whose path or schedule changes begins anew.
func sinceOf(next, stored *store.RotationSet, believed bool, now time.Time) {
	before := map[string]store.Rotation{}
	if stored != nil && believed {
		for _, r := range stored.Rotations {
			before[r.Name] = r
		}
	}
	for i := range next.Rotations {
		r := &next.Rotations[i]
		r.Since = now
		if old, known := before[r.Name]; known && sameTimes(old.Definition, r.Definition) {
			r.Since = old.Since
		}
	}
}

// sameTimes reports whether two definitions are due at the same times.
func sameTimes(a, b []byte) bool {
	type times struct {
		Path     string          `json:"path"`
		Schedule json.RawMessage `json:"schedule"`
	}
	var one, two times
	return json.Unmarshal(a, &one) == nil && json.Unmarshal(b, &two) == nil && one.Path == two.Path && bytes.Equal(one.Schedule, two.Schedule)
}

func sameRotation(a, b store.Rotation) bool {
	return a.Name == b.Name && bytes.Equal(a.Definition, b.Definition) && a.Since.Equal(b.Since)
}

// marshalRotations returns definitions as they are stored, by name.
func marshalRotations(cluster string, definitions []rotation.Definition) ([]store.Rotation, error) {
	if cluster == "" {
		return nil, fmt.Errorf("%w: no cluster was given", secret.ErrInvalid)
	}
	stored := make([]store.Rotation, 0, len(definitions))
	names := map[string]string{} // by path
	for i := range definitions {
		d := &definitions[i]
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("%w: %w", secret.ErrInvalid, err)
		}
		if other, taken := names[d.Path]; taken {
			return nil, fmt.Errorf("%w: both %q and %q rotate %s", secret.ErrInvalid, other, d.Name, d.Path)
		}
		names[d.Path] = d.Name
		text, err := json.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("%w: rotation %s: %w", secret.ErrInvalid, d.Name, err)
		}
		if err := validateText("the rotation "+d.Name, string(text), maxRotationBytes); err != nil {
			return nil, err
		}
		stored = append(stored, store.Rotation{Name: d.Name, Definition: text})
	}
	slices.SortFunc(stored, func(a, b store.Rotation) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(stored); i++ {
		if stored[i].Name == stored[i-1].Name {
			return nil, fmt.Errorf("%w: two rotations have the name %q", secret.ErrInvalid, stored[i].Name)
		}
	}
	return stored, nil
}

// maxRotationBytes bounds a definition; each run has a copy.
const maxRotationBytes = 64 << 10

// definedRotation is a definition that is in force.
type definedRotation struct {
	cluster    string
	definition rotation.Definition
	since      time.Time
}

// definedRotations are the verified rotations of all clusters, by cluster and name. Those of a cluster whose set does not verify, or is older than
// one that this engine knows, are left out: nothing is rotated because of them.
func (e *Engine) definedRotations(ctx context.Context) ([]definedRotation, error) {
	known := e.allKnownRotations() // before they are read: what is read can only be newer
	sets, err := e.store.RotationSets(ctx)
	if err != nil {
		return nil, err
	}
	var defined []definedRotation
	for cluster, set := range sets {
		if finding := e.rotationsFinding(cluster, set, known[cluster]); finding != "" {
			e.logger.ErrorContext(ctx, "integrity check failed", "finding", finding, "cluster", cluster)
			continue
		}
		e.rememberRotations(cluster, set.Revision)
		for _, r := range set.Rotations {
			d := definedRotation{cluster: cluster, since: r.Since}
			if err := unmarshalStrictly(r.Definition, &d.definition); err != nil {
				e.logger.ErrorContext(ctx, "a rotation is stored in a form that this version of Coffer does not know", "rotation", r.Name, "error", err)
				continue
			}
			defined = append(defined, d)
		}
	}
	slices.SortFunc(defined, func(a, b definedRotation) int {
		return cmp.Or(cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.definition.Name, b.definition.Name))
	})
	return defined, nil
}

// unmarshalStrictly refuses what it does not know: a newer replica may have written a condition that this one would not apply.
func unmarshalStrictly(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// rotationsFinding is what is wrong with a stored set, given the newest revision that this engine has verified; empty when nothing is.
func (e *Engine) rotationsFinding(cluster string, set *store.RotationSet, newest int64) string {
	switch {
	case !hmac.Equal(set.MAC, e.rotationsMAC(cluster, set)):
		return ruleRotationsMAC
	case set.Revision < newest:
		return ruleRotationsReplay
	}
	return ""
}

// rotationsMAC covers a cluster's whole set, so that a missing rotation is noticed.
func (e *Engine) rotationsMAC(cluster string, set *store.RotationSet) []byte {
	parts := [][]byte{e.vaultID[:], []byte(cluster), intBytes(set.Revision)}
	for _, r := range set.Rotations {
		parts = append(parts, []byte(r.Name), r.Definition, timeBytes(r.Since))
	}
	mac := e.keyring.MAC(purposeRotations, parts...)
	return mac[:]
}

func (e *Engine) knownRotations(cluster string) int64 {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.rotations[cluster]
}

func (e *Engine) allKnownRotations() map[string]int64 {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return maps.Clone(e.rotations)
}

func (e *Engine) rememberRotations(cluster string, revision int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rotations[cluster] = max(e.rotations[cluster], revision)
}
