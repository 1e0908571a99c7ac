package vault

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// standingRotation is a rotation and how it stands.
type standingRotation struct {
	definedRotation
	// undefined: it is defined no more, and is as its newest run has it.
	undefined bool
	// newest is its newest run; nil when there is none. Unread says that there is one that is not believed.
	newest *rotation.Run
	unread bool
	// ofPath are the newest runs of all rotations of the path, whichever cluster's and however named; its own is one of them.
	ofPath []*rotation.Run
	// secret is the head row of the path, which may not verify, and version its current version; nil when there is none, or none
	// that can be used. They are not known of what is undefined and not under way.
	secret  *store.Secret
	version *store.Version
	// renewAt is when the current credential is to be renewed before its end; zero when it has none, or that is not known.
	renewAt time.Time
}

// underWay reports whether its newest run goes on.
func (r *standingRotation) underWay() bool { return r.newest != nil && !r.newest.State.Ended() }

// busy reports whether another rotation of the path has a run that goes on.
func (r *standingRotation) busy() bool {
	return slices.ContainsFunc(r.ofPath, func(run *rotation.Run) bool {
		return !run.State.Ended() && rotationName{run.Cluster, run.Definition.Name} != r.key()
	})
}

// rotations are all that there are.
type rotations struct {
	// defined are those that are, by cluster and name.
	defined []standingRotation
	// undefined are those that are defined no more and had a run, by cluster and name.
	undefined []standingRotation
}

// allRotations reads all rotations, and how they stand.
func (e *Engine) allRotations(ctx context.Context) (*rotations, error) {
	defined, err := e.definedRotations(ctx)
	if err != nil {
		return nil, err
	}
	runs, unread, err := e.newestRuns(ctx)
	if err != nil {
		return nil, err
	}
	all := &rotations{defined: make([]standingRotation, len(defined))}
	ofPath := map[string][]*rotation.Run{}
	for _, run := range runs {
		ofPath[run.Definition.Path] = append(ofPath[run.Definition.Path], run)
	}
	for i, d := range defined {
		key := rotationName{d.cluster, d.definition.Name}
		all.defined[i] = standingRotation{definedRotation: d, newest: runs[key], unread: unread[key], ofPath: ofPath[d.definition.Path]}
		delete(runs, key)
	}
	for key, run := range runs {
		all.undefined = append(all.undefined, standingRotation{
			definedRotation: definedRotation{cluster: key.cluster, definition: run.Definition}, undefined: true, newest: run, ofPath: ofPath[run.Definition.Path],
		})
	}
	slices.SortFunc(all.undefined, func(a, b standingRotation) int {
		return cmp.Or(cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.definition.Name, b.definition.Name))
	})
	return all, e.addHeads(ctx, all.listed())
}

// addHeads adds the secrets of the paths of what stands.
func (e *Engine) addHeads(ctx context.Context, standing []*standingRotation) error {
	wanted := make([]store.Wanted, len(standing))
	for i, r := range standing {
		wanted[i] = store.Wanted{Cluster: r.cluster, Path: r.definition.Path}
	}
	heads, err := e.store.Heads(ctx, wanted...)
	if err != nil {
		return err
	}
	for i, r := range standing {
		r.secret = heads[i].Secret
		if r.undefined {
			continue // it is never due
		}
		r.version = e.currentOf(heads[i])
		if known, ok := e.renewalOf(r); ok {
			r.renewAt = known.at
		}
	}
	return nil
}

// listed are those that are defined, and then those that are defined no more while their run goes on.
func (all *rotations) listed() []*standingRotation {
	listed := make([]*standingRotation, 0, len(all.defined))
	for i := range all.defined {
		listed = append(listed, &all.defined[i])
	}
	for i := range all.undefined {
		if all.undefined[i].underWay() {
			listed = append(listed, &all.undefined[i])
		}
	}
	return listed
}

// ran are the rotations whose newest run is of a path: the one whose run goes on, if one does, and then those with the newest run.
func (all *rotations) ran(path secret.Path) []*standingRotation {
	var ran []*standingRotation
	for _, standing := range [][]standingRotation{all.defined, all.undefined} {
		for i := range standing {
			if run := standing[i].newest; run != nil && run.Definition.Path == path.String() {
				ran = append(ran, &standing[i])
			}
		}
	}
	slices.SortStableFunc(ran, func(a, b *standingRotation) int {
		if a.underWay() != b.underWay() {
			if a.underWay() {
				return -1
			}
			return 1
		}
		return b.newest.PlannedAt.Compare(a.newest.PlannedAt)
	})
	return ran
}

// of is the rotation of a path that counts for a caller, as definitionOf says.
func (all *rotations) of(caller secret.Caller, path secret.Path) (*standingRotation, error) {
	defined := make([]definedRotation, len(all.defined))
	for i := range all.defined {
		defined[i] = all.defined[i].definedRotation
	}
	d, err := definitionOf(caller, path, defined)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all.defined, func(r standingRotation) bool { return r.key() == rotationName{d.cluster, d.definition.Name} })
	return &all.defined[i], nil
}

// newestRuns are the newest run of each rotation that had one, and the rotations whose run cannot be read.
func (e *Engine) newestRuns(ctx context.Context) (runs map[rotationName]*rotation.Run, unread map[rotationName]bool, err error) {
	rows, err := e.store.NewestRotationRuns(ctx, e.now())
	if err != nil {
		return nil, nil, err
	}
	runs, unread = map[rotationName]*rotation.Run{}, map[rotationName]bool{}
	for i := range rows {
		key := rotationName{rows[i].Cluster, rows[i].Name}
		run, err := e.openRun(&rows[i])
		if err != nil {
			e.logger.ErrorContext(ctx, "a rotation's run cannot be read", "rotation", rows[i].Name, "error", err)
			unread[key] = true
			continue
		}
		runs[key] = &run
	}
	return runs, unread, nil
}

// currentOf is the current version of a head; nil when there is none that can be used.
func (e *Engine) currentOf(head store.Head) *store.Version {
	if !isLive(head.Secret) || !e.verifySecret(head.Secret) || e.usable(head.Secret, head.Secret.CurrentVersion, head.Version) != nil {
		return nil
	}
	return head.Version
}

// definitionOf is the rotation of a path that counts for a caller: that of its own cluster, or else the only one.
//
// Errors: errNoRotation, severalRotations; both are a secret.ErrInvalid.
func definitionOf(caller secret.Caller, path secret.Path, defined []definedRotation) (*definedRotation, error) {
	var found []*definedRotation
	for i := range defined {
		d := &defined[i]
		if d.definition.Path != path.String() {
			continue
		}
		if d.cluster == caller.Cluster {
			return d, nil
		}
		found = append(found, d)
	}
	switch len(found) {
	case 0:
		return nil, errNoRotation
	case 1:
		return found[0], nil
	}
	several := severalRotations{path: path}
	for _, d := range found {
		several.clusters = append(several.clusters, d.cluster)
	}
	return nil, fmt.Errorf("%w: %w", secret.ErrInvalid, several)
}

// errNoRotation answers who may ask about the path.
var errNoRotation = fmt.Errorf("%w: no rotation is defined for the path; coffer rotate writes a new value by hand", secret.ErrInvalid)

// severalRotations says that none of the rotations of a path counts for the caller.
type severalRotations struct {
	path     secret.Path
	clusters []string
}

func (s severalRotations) Error() string {
	return fmt.Sprintf("%s is rotated by several clusters; ask in one of them: %s", s.path, strings.Join(s.clusters, ", "))
}
