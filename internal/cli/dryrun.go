package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// addDryRun adds --dry-run to a command that takes something away, or whose change is not easily taken back.
func addDryRun(cmd *cobra.Command, dryRun *bool, shows string) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "only show what would "+shows+", and whether you may do it")
}

// wouldDo says on standard error what a dry run was about.
func (s *session) wouldDo(format string, args ...any) error {
	_, err := fmt.Fprintf(s.err, format+"; nothing was changed.\n", args...)
	return err
}

// mayDo fails as the server does for who may not do what a capability is for.
func mayDo(ctx context.Context, client *sdk.Client, path, capability, verb string) error {
	may, err := client.Explain(ctx, sdk.ExplainQuery{Path: path, Capability: capability})
	if err != nil {
		return err
	}
	if !may.Allowed {
		return &sdk.Error{Code: sdk.CodeNotFoundOrDenied, Detail: verb + " " + path + ": the path does not exist, or you may not do this"}
	}
	return nil
}

func mayDoAll(ctx context.Context, client *sdk.Client, path string, capabilities []string, verb string) error {
	for _, capability := range capabilities {
		if err := mayDo(ctx, client, path, capability, verb); err != nil {
			return err
		}
	}
	return nil
}

// showRemoval shows which versions would be deleted or destroyed; all
// when r names none. It fails where the removal would.
func (s *session) showRemoval(ctx context.Context, client *sdk.Client, r removed, output string) error {
	if err := mayDo(ctx, client, r.Path, "delete", "delete"); err != nil {
		return err
	}
	found, err := client.Versions(ctx, r.Path)
	if r.Done == destroyed && len(r.Versions) == 0 && sdk.CodeOf(err) == sdk.CodeNotFoundOrDenied {
		found, err = client.DeletedVersions(ctx, r.Path) // which can be destroyed, too
	}
	if err != nil {
		return err
	}
	what := r.Path
	if len(r.Versions) > 0 {
		what = versionsText(r.Versions) + " of " + r.Path
		if found, err = chosenVersions(found, r); err != nil {
			return err
		}
	}
	if err := s.printVersions(found, output); err != nil {
		return err
	}
	return s.wouldDo("%s would be %s", what, r.Done)
}

func chosenVersions(found []sdk.Version, r removed) ([]sdk.Version, error) {
	var chosen []sdk.Version
	for _, number := range r.Versions {
		i := slices.IndexFunc(found, func(v sdk.Version) bool { return v.Version == number })
		if i < 0 {
			return nil, &sdk.Error{Code: sdk.CodeVersionNotFound, Detail: fmt.Sprintf("%s has no version %d", r.Path, number)}
		}
		if slices.Contains(found[i].Labels, sdk.LabelCurrent) {
			return nil, &sdk.Error{Code: sdk.CodeConflict, Detail: fmt.Sprintf("version %d of %s is the current one, which cannot be %s alone", number, r.Path, r.Done)}
		}
		chosen = append(chosen, found[i])
	}
	return chosen, nil
}

// showPromotion shows which version would become current. It fails where the promotion would.
func (s *session) showPromotion(ctx context.Context, client *sdk.Client, path string, expected *int64, output string) error {
	if err := mayDo(ctx, client, path, "rotate", "promote"); err != nil {
		return err
	}
	found, err := client.Versions(ctx, path)
	if err != nil {
		return err
	}
	labelled := func(label string) []sdk.Version {
		return slices.DeleteFunc(slices.Clone(found), func(v sdk.Version) bool { return !slices.Contains(v.Labels, label) })
	}
	pending, current := labelled(sdk.LabelPending), labelled(sdk.LabelCurrent)
	if len(current) == 1 && expected != nil && *expected != current[0].Version {
		return &sdk.Error{Code: sdk.CodeConflict, Detail: fmt.Sprintf("promote %s: the current version is not the expected one: expected %d, it is %d", path, *expected, current[0].Version)}
	}
	if len(pending) == 0 {
		return &sdk.Error{Code: sdk.CodeVersionNotFound, Detail: "promote " + path + ": none has the label pending"}
	}
	if err := s.printVersions(pending, output); err != nil {
		return err
	}
	return s.wouldDo("version %d of %s would become current", pending[0].Version, path)
}

// showKeyDestruction says whether a key would be destroyed. It fails where the destruction would.
func (s *session) showKeyDestruction(ctx context.Context, client *sdk.Client, status sdk.KeyringStatus, id uint32, output string) error {
	i := slices.IndexFunc(status.Keys, func(k sdk.KeyringKey) bool { return k.ID == id })
	if i < 0 {
		return fmt.Errorf("destroy key %d: %w", id, errNoSuchKey)
	}
	key := status.Keys[i]
	needed := []string{"delete"}
	if key.State == sdk.KeyEnabled && key.Versions == 0 {
		needed = []string{"rotate", "delete"} // it is retired first
	}
	if err := mayDoAll(ctx, client, keyringPath, needed, "destroy a key of"); err != nil {
		return err
	}
	if key.State == sdk.KeyPrimary || key.Versions > 0 {
		return &sdk.Error{Code: sdk.CodeKeyState, Detail: fmt.Sprintf(
			"key %d is %s and wraps %d versions, so it cannot be destroyed; coffer keyring rotate and rewrap take it out of use", id, key.State, key.Versions)}
	}
	return s.print(output, result{data: key, names: []string{keyName(id)}, text: func() error { return s.wouldDo("Key %d would be destroyed", id) }})
}

// showKeyRotation says which key would be used, and which replicas would be waited for.
func (s *session) showKeyRotation(ctx context.Context, client *sdk.Client, output string) error {
	if err := mayDo(ctx, client, keyringPath, "rotate", "rotate"); err != nil {
		return err
	}
	status, err := client.KeyringStatus(ctx)
	if err != nil {
		return err
	}
	made := keyRotation{Replicas: len(status.Replicas)}
	for _, k := range status.Keys {
		made.UnderOlderKeys += k.Versions
	}
	which := "A key would be added and used"
	id, found := pendingKey(status)
	if found {
		made.Key = id
		which = fmt.Sprintf("Key %d, which is there already, would be used", id)
	}
	return s.print(output, result{data: made, names: keyNames(made.Key), text: func() error {
		return s.wouldDo("%s once %s it, and %s would be under older keys", which, have(made.Replicas), count(made.UnderOlderKeys, "version"))
	}})
}

// have is "1 replica has" or "2 replicas have".
func have(replicas int) string {
	if replicas == 1 {
		return "1 replica has"
	}
	return count(int64(replicas), "replica") + " have"
}

// showRewrap says how many versions would be rewrapped, and which keys destroyed.
func (s *session) showRewrap(ctx context.Context, client *sdk.Client, keepOld bool, output string) error {
	needed := []string{"rotate"}
	if !keepOld {
		needed = append(needed, "delete")
	}
	if err := mayDoAll(ctx, client, keyringPath, needed, "rewrap"); err != nil {
		return err
	}
	status, err := client.KeyringStatus(ctx)
	if err != nil {
		return err
	}
	would := rewrapping{Rewrapped: underOldKeys(status), Destroyed: []uint32{}}
	if !keepOld {
		for _, k := range oldKeys(status) {
			would.Destroyed = append(would.Destroyed, k.ID)
		}
	}
	return s.print(output, result{data: would, names: keyNames(would.Destroyed...), text: func() error {
		destroyed := "no key"
		if len(would.Destroyed) > 0 {
			destroyed = "for good, " + strings.Join(keyNames(would.Destroyed...), ", ")
		}
		return s.wouldDo("%s would be rewrapped, and %s destroyed", count(would.Rewrapped, "version"), destroyed)
	}})
}
