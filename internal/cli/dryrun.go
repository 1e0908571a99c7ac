package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// addDryRun adds --dry-run to a command that takes something away.
func addDryRun(cmd *cobra.Command, dryRun *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "only show what would go, and whether you may do it")
}

// showRemoval shows which versions of path would be deleted or destroyed ("deleted"); all
// when versions is empty. It fails where the removal would.
func (s *session) showRemoval(ctx context.Context, client *sdk.Client, path, done string, versions []int64) error {
	may, err := client.Explain(ctx, sdk.ExplainQuery{Path: path, Capability: "delete"})
	if err != nil {
		return err
	}
	if !may.Allowed {
		return &sdk.Error{Code: sdk.CodeNotFoundOrDenied, Detail: "delete " + path + ": the path does not exist, or you may not do this"}
	}
	found, err := client.Versions(ctx, path)
	if err != nil {
		return err
	}
	if len(versions) > 0 {
		if found, err = chosenVersions(found, path, done, versions); err != nil {
			return err
		}
	}
	if err := s.printVersions(found, formatTable); err != nil {
		return err
	}
	what := path
	if len(versions) > 0 {
		what = versionsText(versions) + " of " + path
	}
	_, err = fmt.Fprintf(s.err, "%s would be %s; nothing was changed.\n", what, done)
	return err
}

func chosenVersions(found []sdk.Version, path, done string, versions []int64) ([]sdk.Version, error) {
	var chosen []sdk.Version
	for _, number := range versions {
		i := slices.IndexFunc(found, func(v sdk.Version) bool { return v.Version == number })
		if i < 0 {
			return nil, &sdk.Error{Code: sdk.CodeVersionNotFound, Detail: fmt.Sprintf("%s has no version %d", path, number)}
		}
		if slices.Contains(found[i].Labels, sdk.LabelCurrent) {
			return nil, &sdk.Error{Code: sdk.CodeConflict, Detail: fmt.Sprintf("version %d of %s is the current one, which cannot be %s alone", number, path, done)}
		}
		chosen = append(chosen, found[i])
	}
	return chosen, nil
}

// showKeyDestruction says whether a key would be destroyed.
func (s *session) showKeyDestruction(status sdk.KeyringStatus, id uint32) error {
	i := slices.IndexFunc(status.Keys, func(k sdk.KeyringKey) bool { return k.ID == id })
	if i < 0 {
		return fmt.Errorf("destroy key %d: %w", id, errNoSuchKey)
	}
	key := status.Keys[i]
	if key.State == sdk.KeyPrimary || key.Versions > 0 {
		return &sdk.Error{Code: sdk.CodeKeyState, Detail: fmt.Sprintf(
			"key %d is %s and wraps %d versions, so it cannot be destroyed; coffer keyring rotate and rewrap take it out of use", id, key.State, key.Versions)}
	}
	_, err := fmt.Fprintf(s.err, "Key %d would be destroyed; nothing was changed.\n", id)
	return err
}
