package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// rewrapRounds bounds how often a rewrap begins anew because a version came under an
// old key meanwhile, by a replica that slept through the rotation.
const rewrapRounds = 3

func (s *session) keyringRewrap() *cobra.Command {
	var keepOld bool
	cmd := &cobra.Command{
		Use: "rewrap", Short: "Bring what older keys wrap under the key in use, and destroy them",
		Long: `Wrap every data key that an older key-encryption key wraps anew under the one in use, then
retire and destroy the older keys. Values are not touched. It may be cut off at any time, and run
by several at once: what is done stays done, and the next one does the rest. --timeout is for
each request, not for all.

Needs the read, rotate and delete capabilities on sys/keyring; without delete, give
--keep-old.`,
		Args: noArgs, Annotations: map[string]string{explainedBy: "rotate", explainedPath: keyringPath},
	}
	cmd.Flags().BoolVar(&keepOld, "keep-old", false, "neither retire nor destroy the older keys")
	var dryRun bool
	addDryRun(cmd, &dryRun, "be rewrapped and go")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, _ []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		if dryRun {
			ctx, cancel := s.limit(cmd)
			defer cancel()
			return s.showRewrap(ctx, client, keepOld, output.value)
		}
		done := rewrapping{Destroyed: []uint32{}}
		if err := s.rewrapAndDestroy(cmd, client, &done, keepOld, s.messages(output.value)); err != nil {
			return err
		}
		return s.print(output.value, result{data: done, names: keyNames(done.Destroyed...), text: func() error { return nil }}) // which is said already
	})
	return cmd
}

// rewrapping is what a rewrap did, or would do.
type rewrapping struct {
	Rewrapped int64    `json:"rewrapped"`
	Destroyed []uint32 `json:"destroyedKeys"`
}

func (s *session) rewrapAndDestroy(cmd *cobra.Command, client *sdk.Client, done *rewrapping, keepOld bool, messages io.Writer) error {
	for round := 1; ; round++ {
		if err := s.rewrapAll(cmd, client, done, messages); err != nil || keepOld {
			return err
		}
		err := s.destroyOldKeys(cmd, client, done, messages)
		if sdk.CodeOf(err) != sdk.CodeKeyState || round == rewrapRounds {
			return err
		}
	}
}

// rewrapAll asks for slices of the work until nothing is left.
func (s *session) rewrapAll(cmd *cobra.Command, client *sdk.Client, all *rewrapping, messages io.Writer) error {
	var done int64
	show := s.showProgress("rewrapping", "versions")
	defer show.end()
	for {
		progress, err := s.rewrapSlice(cmd, client)
		if err != nil {
			return err
		}
		done += progress.Rewrapped
		all.Rewrapped += progress.Rewrapped
		show.at(done, done+progress.Remaining)
		switch {
		case progress.Remaining == 0:
			show.end()
			_, err := fmt.Fprintf(messages, "%d versions are rewrapped.\n", done)
			return err
		case progress.Failed > 0 && progress.Rewrapped == 0:
			return fmt.Errorf("%d versions could not be rewrapped, since their data key does not open; "+
				"their keys stay. See which: coffer audit --action rewrap --decision failed", progress.Remaining)
		}
	}
}

func (s *session) rewrapSlice(cmd *cobra.Command, client *sdk.Client) (sdk.RewrapProgress, error) {
	ctx, cancel := s.limit(cmd)
	defer cancel()
	return client.KeyringRewrap(ctx)
}

// oldKeys are the keys that were in use before.
func oldKeys(status sdk.KeyringStatus) []sdk.KeyringKey {
	return slices.DeleteFunc(slices.Clone(status.Keys), func(k sdk.KeyringKey) bool { return k.State != sdk.KeyEnabled && k.State != sdk.KeyRetired })
}

// destroyOldKeys destroys the keys that were in use before.
func (s *session) destroyOldKeys(cmd *cobra.Command, client *sdk.Client, done *rewrapping, messages io.Writer) error {
	ctx, cancel := s.limit(cmd)
	defer cancel()
	status, err := client.KeyringStatus(ctx)
	if err != nil {
		return err
	}
	for _, k := range oldKeys(status) {
		if err := destroyKey(ctx, client, status, k.ID); err != nil {
			return err
		}
		done.Destroyed = append(done.Destroyed, k.ID)
		_, _ = fmt.Fprintf(messages, "Key %d is destroyed.\n", k.ID)
	}
	return nil
}
