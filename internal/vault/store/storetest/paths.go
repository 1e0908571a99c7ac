package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

// whatIsWrittenComesBack: MACs are over what was written, so it must come back as it
// was, whatever the database thinks of time zones and text.
func (s *suite) whatIsWrittenComesBack(t *testing.T) {
	row := head(s.path())
	row.Description, row.Tags = "ä \U0001F511 ' \\ \n", map[string]string{"b": "", "a": `"<&>"`}
	row.AllowedServices, row.AllowedEnvironments = []string{"*", `a"/{b},`, "NULL", ""}, []string{"\\"}
	row.RotateAfterDays, row.MaxVersions, row.PendingVersion, row.LastVersion = 36500, 10000, 2, 2
	first, deletion := version(row, 1), version(row, 2)
	first.CreatedAt = created.In(time.FixedZone("elsewhere", 5*3600+1800))
	deletion.WrappedKey, deletion.Deletion = nil, true
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.InsertSecret(t.Context(), row); err != nil {
			return err
		}
		tx.InsertVersion(first, []byte{0, 255, '\\', 'x'})
		tx.InsertVersion(deletion, nil)
		return tx.Flush(t.Context())
	}))
	row.Newest = 2
	got := read(t, s.two, row.Path)
	equal(t, "the head", row, got.Secret)
	equal(t, "the version", first, got.Version)
	equal(t, "the boxes of a version, of none, and of a deletion", [][]byte{{0, 255, '\\', 'x'}, nil, {}}, s.boxes(t, row.ID, 1, 9, 2))
	s.stateComesBack(t, row, first)
}

// stateComesBack deletes and destroys what whatIsWrittenComesBack wrote.
func (s *suite) stateComesBack(t *testing.T, row *store.Secret, first *store.Version) {
	at := created.Add(time.Hour)
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		row.DeletedAt, row.DestroyedAt, row.Revision, row.AmendedRevision = &at, &at, 2, 2
		first.DeletedAt, first.DestroyedAt, first.AmendedRevision, first.MAC = &at, &at, 2, []byte("mac of 2")
		tx.UpdateSecret(row)
		tx.UpdateVersion(first)
		tx.InsertAmendment(row.ID, 1, 2)
		return tx.Flush(t.Context())
	}))
	row.NewestAmendment, first.NewestAmendment, first.WrappedKey = 2, 2, []byte{}
	got := read(t, s.two, row.Path)
	equal(t, "the head of a destroyed path", row, got.Secret)
	equal(t, "a destroyed version", first, got.Version)
	equal(t, "the box of a destroyed version", [][]byte{{}}, s.boxes(t, row.ID, 1))
}

func (s *suite) boxes(t *testing.T, id store.ID, versions ...int64) [][]byte {
	t.Helper()
	wanted := make([]store.BoxOf, len(versions))
	for i, version := range versions {
		wanted[i] = store.BoxOf{SecretID: id, Version: version}
	}
	boxes, err := s.two.Boxes(t.Context(), wanted...)
	must(t, err)
	return boxes
}

func equal[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
		t.Errorf("%s (-written +read)\n%s", what, diff)
	}
}

// pathIsLocked: who waits for a path sees it as it is after the wait, with its newest
// version and amendment.
func (s *suite) pathIsLocked(t *testing.T) {
	path := s.path()
	s.write(t, path)
	var locked *store.Secret
	release := held(t, s.one, func(tx *store.Tx) (err error) {
		locked, err = tx.LockSecret(context.Background(), path)
		if err != nil {
			return err
		}
		next(tx, locked)
		tx.InsertAmendment(locked.ID, 0, locked.Revision)
		return nil
	})
	began, got := make(chan struct{}), make(chan *store.Secret, 1)
	go func() {
		var once sync.Once
		err := s.two.InTx(context.Background(), func(tx *store.Tx) error {
			once.Do(func() { close(began) })
			row, err := tx.LockSecret(context.Background(), path)
			if err == nil {
				got <- row
			}
			return err
		})
		if err != nil {
			t.Error(err)
			got <- &store.Secret{}
		}
	}()
	<-began
	select {
	case <-got:
		t.Error("a locked path was given to another")
	default:
	}
	if read(t, s.two, path).Secret.LastVersion != 1 {
		t.Error("a lock holds readers up, or shows them what is not committed")
	}
	must(t, release(nil))
	if row := <-got; row.LastVersion != 2 || row.Newest != 2 || row.NewestAmendment != 2 {
		t.Errorf("after the wait: %+v", row)
	}
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		if row, err := tx.LockSecret(t.Context(), s.path()); row != nil || err != nil {
			t.Errorf("a path that is not there: %+v, %v", row, err)
		}
		return nil
	}))
}

// countingUnderLocks: writers that take turns on a path lose no number.
func (s *suite) countingUnderLocks(t *testing.T) {
	path := s.path()
	s.write(t, path)
	const writers, each = 8, 5
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			for range each {
				err := []*store.Store{s.one, s.two}[i%2].InTx(t.Context(), func(tx *store.Tx) error {
					row, err := tx.LockSecret(t.Context(), path)
					if err != nil {
						return err
					}
					if row.Newest != row.LastVersion {
						t.Errorf("the newest version is %d, the last %d", row.Newest, row.LastVersion)
					}
					next(tx, row)
					return tx.Flush(t.Context())
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if got := read(t, s.one, path).Secret; got.LastVersion != writers*each+1 || got.Newest != got.LastVersion {
		t.Errorf("%+v", got)
	}
}

// newPathIsInsertedOnce: of two that make one path the second learns that the first did,
// or makes it when the first does not after all.
func (s *suite) newPathIsInsertedOnce(t *testing.T) {
	for _, outcome := range []error{nil, errors.New("not after all")} {
		path := s.path()
		release := held(t, s.one, func(tx *store.Tx) error {
			inserted, err := tx.InsertSecret(context.Background(), head(path))
			if !inserted {
				t.Error("nobody else has the path")
			}
			return err
		})
		began, got := make(chan struct{}), make(chan bool, 1)
		go func() {
			var once sync.Once
			var inserted bool
			err := s.two.InTx(context.Background(), func(tx *store.Tx) (err error) {
				once.Do(func() { close(began) })
				inserted, err = tx.InsertSecret(context.Background(), head(path))
				return err
			})
			if err != nil {
				t.Error(err)
			}
			got <- inserted
		}()
		<-began
		if err := release(outcome); !errors.Is(err, outcome) {
			t.Error(err)
		}
		if inserted := <-got; inserted == (outcome == nil) {
			t.Errorf("the first ended with %v, the second inserted: %v", outcome, inserted)
		}
	}
}

// headsAreOfOneMoment: the head, its version and the policies fit together, and come in
// the order asked for.
func (s *suite) headsAreOfOneMoment(t *testing.T) {
	path, other, missing := s.path(), s.path(), s.path()
	s.write(t, path)
	s.write(t, other)
	const writes = 40
	cluster := s.path()
	wrote := make(chan error, 1)
	go func() {
		for range writes {
			err := s.one.InTx(context.Background(), func(tx *store.Tx) error {
				row, err := tx.LockSecret(context.Background(), path)
				if err != nil {
					return err
				}
				next(tx, row)
				tx.ReplacePolicySet(cluster, &store.PolicySet{PolicySetHead: store.PolicySetHead{Revision: row.Revision, MAC: []byte("mac")}})
				return tx.Flush(context.Background())
			})
			if err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	wanted := []store.Wanted{
		{Cluster: cluster, Path: missing}, {Cluster: cluster, Path: path}, {Cluster: cluster, Path: other, Version: 9},
		{Cluster: cluster, Path: path, Version: 1}, {Cluster: cluster, Path: path, Version: store.Previous},
	}
	for last := int64(0); last < writes+1; {
		heads, err := s.two.Heads(t.Context(), wanted...)
		must(t, err)
		now := heads[1].Secret
		if last = now.LastVersion; heads[1].Version == nil || heads[1].Version.Version != last || now.Newest != last || now.Revision != last {
			t.Fatalf("head %+v, version %+v", now, heads[1].Version)
		}
		if p := heads[1].Policies; last > 1 && (p == nil || p.Revision != last) || last == 1 && p != nil {
			t.Fatalf("policies %+v at version %d", p, last)
		}
		if heads[0].Secret != nil || heads[2].Secret == nil || heads[2].Version != nil || heads[3].Version.Version != 1 || heads[4].Version != nil {
			t.Fatalf("%+v", heads)
		}
		select {
		case err := <-wrote:
			must(t, err)
			wrote <- nil
		default:
		}
	}
}

// versionsOfAnotherMoment: who writes in between is noticed.
func (s *suite) versionsOfAnotherMoment(t *testing.T) {
	path := s.path()
	s.write(t, path)
	before := read(t, s.one, path).Secret
	versions, ok, err := s.one.VersionsOf(t.Context(), before)
	if err != nil || !ok || len(versions) != 1 || versions[0].Version != 1 {
		t.Errorf("%+v, %v, %v", versions, ok, err)
	}
	must(t, s.two.InTx(t.Context(), func(tx *store.Tx) error {
		row, err := tx.LockSecret(t.Context(), path)
		if err != nil {
			return err
		}
		next(tx, row)
		return tx.Flush(t.Context())
	}))
	if _, ok, err := s.one.VersionsOf(t.Context(), before); ok || err != nil {
		t.Errorf("after a write: ok %v, %v", ok, err)
	}
	if _, ok, err := s.one.VersionsOf(t.Context(), head(path)); ok || err != nil {
		t.Errorf("of no path: ok %v, %v", ok, err)
	}
}

// itemsAreInByteOrder, whatever the database's collation is.
func (s *suite) itemsAreInByteOrder(t *testing.T) {
	prefix := s.path()
	names := []string{prefix + "-x", prefix + ".x", prefix + "/-", prefix + "/1", prefix + "/_", prefix + "/a", prefix + "/a-b", prefix + "/a/b", prefix + "/aa", prefix + "0"}
	if !slices.IsSorted(names) {
		t.Fatal("the names are not in byte order")
	}
	for _, name := range slices.Backward(names) {
		s.write(t, name)
	}
	gone := s.write(t, prefix+"/gone")
	must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
		gone.DeletedAt, gone.RotateAfterDays = &created, 1
		tx.UpdateSecret(gone)
		return tx.Flush(t.Context())
	}))
	var got []string
	for filter := (store.Filter{Prefix: prefix + "/", Limit: 3}); ; {
		items, err := s.two.Items(t.Context(), filter)
		must(t, err)
		for _, item := range items {
			if item.Version == nil || item.Version.Version != 1 {
				t.Errorf("%s: version %+v", item.Secret.Path, item.Version)
			}
			got = append(got, item.Secret.Path)
		}
		if len(items) < filter.Limit {
			break
		}
		filter.After = got[len(got)-1]
	}
	equal(t, "the pages", names[2:9], got)
	if items, err := s.two.Items(t.Context(), store.Filter{Prefix: prefix + "/", Scheduled: true, Limit: 9}); err != nil || len(items) != 0 {
		t.Errorf("scheduled: %d, %v", len(items), err)
	}
}

// idempotencyKeys are found by their name, replaced, and pruned by age.
func (s *suite) idempotencyKeys(t *testing.T) {
	row := s.write(t, s.path())
	k := &store.IdempotencyKey{Name: []byte(row.Path), Request: []byte{1}, SecretID: row.ID, Version: 1, CreatedAt: created, MAC: []byte{2}}
	put := func() {
		t.Helper()
		must(t, s.one.InTx(t.Context(), func(tx *store.Tx) error {
			tx.PutIdempotencyKey(k)
			return tx.Flush(t.Context())
		}))
	}
	find := func() (found *store.IdempotencyKey) {
		t.Helper()
		must(t, s.two.InTx(t.Context(), func(tx *store.Tx) (err error) {
			found, err = tx.IdempotencyKey(t.Context(), k.Name)
			return err
		}))
		return found
	}
	if got := find(); got != nil {
		t.Errorf("a key that is not there: %+v", got)
	}
	put()
	equal(t, "a key", k, find())
	k.Request, k.Version, k.CreatedAt, k.MAC = []byte{3}, 2, created.Add(time.Hour), []byte{4}
	put()
	equal(t, "a replaced key", k, find())
	must(t, s.one.PruneIdempotencyKeys(t.Context(), k.CreatedAt))
	equal(t, "a key as old as the limit", k, find())
	must(t, s.one.PruneIdempotencyKeys(t.Context(), k.CreatedAt.Add(time.Microsecond)))
	if got := find(); got != nil {
		t.Errorf("a key older than the limit: %+v", got)
	}
}
