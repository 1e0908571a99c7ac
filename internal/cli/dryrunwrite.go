package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// intendedWrite is what a command would write, but for its value.
type intendedWrite struct {
	changes sdk.UpdateRequest
	pending bool
	// capability is what it needs.
	capability string
	// mustExist is of a write that makes no path.
	mustExist bool
}

// showWrite shows which versions a write would destroy. It fails where that would, but reads no value, so that a value which is refused
// is not seen.
func (s *session) showWrite(cmd *cobra.Command, path string, w intendedWrite, output string) error {
	client, err := s.client(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := s.limit(cmd)
	defer cancel()
	verb := cmd.Name()
	if err := mayChange(ctx, client, path, w.changes, w.capability, verb); err != nil {
		return err
	}
	now, surplus, err := surplusOf(ctx, client, path, w.changes, w.pending)
	if !w.mustExist && sdk.CodeOf(err) == sdk.CodeNotFoundOrDenied {
		now, surplus, err = sdk.Metadata{}, nil, maySee(ctx, client, path, verb)
	}
	if err == nil {
		err = w.mayFollow(verb, path, now.Version)
	}
	if err != nil {
		return err
	}
	if err := s.printVersions(surplus, output); err != nil {
		return err
	}
	return s.wouldDo("%s would be written, and %s destroyed", path, count(int64(len(surplus)), "version"))
}

// mayFollow fails as the server does for what cannot be written after the current version, which is 0 where there is none.
func (w intendedWrite) mayFollow(verb, path string, now int64) error {
	if err := asExpected(verb, path, now, w.changes.ExpectedVersion); err != nil {
		return err
	}
	if w.pending && now == 0 {
		return &sdk.Error{Code: sdk.CodeInvalid, Detail: fmt.Sprintf("%s %s: the first version of a path cannot be pending; write it without --pending", verb, path)}
	}
	return nil
}

// maySee fails for who could not tell a path that is not there from one that they may write but not see: what a write of theirs destroys
// is not known.
func maySee(ctx context.Context, client *sdk.Client, path, verb string) error {
	err := mayDo(ctx, client, path, "list", verb)
	if sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
		return err
	}
	err = mayDo(ctx, client, path, "read", verb)
	if sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
		return err
	}
	return &sdk.Error{Code: sdk.CodeNotFoundOrDenied, Detail: fmt.Sprintf(
		"%s %s: whether it exists, and with which versions, is for who has the list or the read capability; --dry-run needs one of them", verb, path)}
}

// showUpdate shows which versions the write after an update would destroy. It fails where the update would.
func (s *session) showUpdate(ctx context.Context, client *sdk.Client, path string, changes sdk.UpdateRequest, output string) error {
	capability := "write"
	if changes.Description == nil && changes.Tags == nil && changes.RotateAfterDays == nil && changes.MaxVersions == nil {
		capability = "share"
	}
	if err := mayChange(ctx, client, path, changes, capability, "update"); err != nil {
		return err
	}
	now, surplus, err := surplusOf(ctx, client, path, changes, false)
	if err == nil {
		err = asExpected("update", path, now.Version, changes.ExpectedVersion)
	}
	if err != nil {
		return err
	}
	if err := s.printVersions(surplus, output); err != nil {
		return err
	}
	return s.wouldDo("%s would be updated, and %s destroyed by the next write", path, count(int64(len(surplus)), "version"))
}

// mayChange fails as the server does for who may not write, or may not change who reads.
func mayChange(ctx context.Context, client *sdk.Client, path string, changes sdk.UpdateRequest, capability, verb string) error {
	if err := mayDo(ctx, client, path, capability, verb); err != nil || changes.Access == nil || capability == "share" {
		return err
	}
	return mayDo(ctx, client, path, "share", verb)
}

func asExpected(verb, path string, now int64, expected *int64) error {
	if expected == nil || *expected == now {
		return nil
	}
	return &sdk.Error{
		Code: sdk.CodeConflict, Detail: fmt.Sprintf("%s %s: the current version is not the expected one: expected %d, it is %d", verb, path, *expected, now),
	}
}

// surplusOf describes a secret as it is, and lists the versions that a write, of a pending version or not, destroys once the changes are
// made.
func surplusOf(ctx context.Context, client *sdk.Client, path string, changes sdk.UpdateRequest, pending bool) (sdk.Metadata, []sdk.Version, error) {
	now, err := client.Metadata(ctx, path)
	if err != nil {
		return sdk.Metadata{}, nil, err
	}
	found, err := client.Versions(ctx, path)
	if err != nil {
		return sdk.Metadata{}, nil, err
	}
	keep := now.MaxVersions
	if changes.MaxVersions != nil {
		keep = *changes.MaxVersions
	}
	return now, surplusVersions(found, keep, pending), nil
}

// surplusVersions are those of found, newest first, that a write destroys when that many are kept, 0 for all: the oldest, but none that
// has a label afterwards. What is current becomes the previous one, whose own label goes; a pending version takes the label of another.
func surplusVersions(found []sdk.Version, keep int, pending bool) []sdk.Version {
	if keep == 0 {
		return nil
	}
	loses := sdk.LabelPrevious
	if pending {
		loses = sdk.LabelPending
	}
	var unlabelled []sdk.Version
	kept := 1 // the one that is written
	for _, v := range found {
		if v.State == sdk.VersionDestroyed {
			continue
		}
		kept++
		if !slices.ContainsFunc(v.Labels, func(label string) bool { return label != loses }) {
			unlabelled = append(unlabelled, v)
		}
	}
	n := max(0, min(kept-keep, len(unlabelled)))
	return unlabelled[len(unlabelled)-n:]
}
