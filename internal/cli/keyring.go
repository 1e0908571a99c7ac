package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// keyringPath is what policies name the keyring.
const keyringPath = "sys/keyring"

func (s *session) keyring() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keyring",
		Short: "Show and replace the vault's key-encryption keys",
		Long: `Show and replace the vault's key-encryption keys. They wrap the data key of each stored
version, and are themselves wrapped by the root key.

To replace the key: coffer keyring rotate && coffer keyring rewrap. The vault is used
meanwhile as always. Needs capabilities on the path sys/keyring, which a rule must name:
** does not reach it.`,
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(s.keyringStatus(), s.keyringRotate(), s.keyringRewrap(), s.keyringDestroy())
	return cmd
}

func (s *session) keyringStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show the root key, the keys, what they wrap, and which replicas have them",
		Long: `Show the root key that wraps the keyset, the keys, how many stored versions each wraps, and
the replicas with the revision of the keyset that they have loaded. Needs the read
capability on sys/keyring.

A root key is moving while the keyset is about to be wrapped by another one: keep it until it is
not shown any more. It is unknown when it does not answer now.`,
		Args: noArgs, Annotations: map[string]string{explainedBy: "read", explainedPath: keyringPath},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, _ []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		status, err := client.KeyringStatus(cmd.Context())
		if err != nil {
			return err
		}
		return s.print(output.value, result{
			data: status, names: namesOf(status.Keys, func(k sdk.KeyringKey) string { return keyName(k.ID) }),
			text: func() error { return s.printKeyring(status) },
		})
	})
	return cmd
}

func (s *session) printKeyring(status sdk.KeyringStatus) error {
	if err := s.printRoot(status.Root); err != nil {
		return err
	}
	rows := make([][]string, len(status.Keys))
	for i, k := range status.Keys {
		created := "-"
		if !k.CreatedAt.IsZero() {
			created = stamp(k.CreatedAt)
		}
		rows[i] = []string{keyName(k.ID), k.State, created, strconv.FormatInt(k.Versions, 10)}
	}
	if err := table(s.out, []string{"KEY", "STATE", "CREATED", "VERSIONS"}, rows); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(s.out)
	rows = make([][]string, len(status.Replicas))
	for i, r := range status.Replicas {
		rows[i] = []string{r.Name, fmt.Sprintf("%d of %d", r.Revision, status.Revision), s.age(r.SeenAt) + " ago"}
	}
	if err := table(s.out, []string{"REPLICA", "REVISION", "SEEN"}, rows); err != nil {
		return err
	}
	for _, finding := range status.Findings {
		_, _ = fmt.Fprintf(s.err, "Warning: %s\n", printable(finding))
	}
	return nil
}

func (s *session) printRoot(root sdk.KeyringRoot) error {
	if root == (sdk.KeyringRoot{}) {
		return nil // a server of before it was shown
	}
	id := root.KeyID
	if id == "" {
		id = "-"
	}
	if err := table(s.out, []string{"ROOT KEY", "ID", "STATE"}, [][]string{{root.Kind, id, root.State}}); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out)
	return err
}

func keyName(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// keyNames are the names of keys; 0 is none.
func keyNames(ids ...uint32) []string {
	return namesOf(slices.DeleteFunc(slices.Clone(ids), func(id uint32) bool { return id == 0 }), keyName)
}

func (s *session) keyringRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate", Short: "Add a key, and use it when every replica has it",
		Long: `Add a key-encryption key, wait until every replica has it, and use it for what is written
from then on. What was written before stays under the older keys: see coffer keyring
rewrap. When it is cut off, the next one goes on with the key that was added. Needs the
read and rotate capabilities on sys/keyring.`,
		Args: noArgs, Annotations: map[string]string{explainedBy: "rotate", explainedPath: keyringPath},
	}
	var dryRun bool
	addDryRun(cmd, &dryRun, "be used")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, _ []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		if dryRun {
			return s.showKeyRotation(cmd.Context(), client, output.value)
		}
		return s.rotateKey(cmd.Context(), client, output.value)
	})
	return cmd
}

// keyRotation is what a rotation did, or would do.
type keyRotation struct {
	// Key is the one in use now; 0 when it is still to be added.
	Key            uint32 `json:"key,omitempty"`
	Replicas       int    `json:"replicas"`
	UnderOlderKeys int64  `json:"versionsUnderOlderKeys"`
}

func (s *session) rotateKey(ctx context.Context, client *sdk.Client, output string) error {
	messages := s.messages(output)
	status, err := client.KeyringStatus(ctx)
	if err != nil {
		return err
	}
	id, found := pendingKey(status)
	if found {
		_, _ = fmt.Fprintf(messages, "Key %d is there, and not used yet.\n", id)
	} else {
		if id, err = client.KeyringAdd(ctx); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(messages, "Key %d is added.\n", id)
	}
	if err := s.waitForReplicas(ctx, client, messages); err != nil {
		return err
	}
	if err := client.KeyringPromote(ctx, id); err != nil {
		return err
	}
	status, err = client.KeyringStatus(ctx)
	if err != nil {
		return err
	}
	made := keyRotation{Key: id, Replicas: len(status.Replicas), UnderOlderKeys: underOldKeys(status)}
	return s.print(output, result{data: made, names: keyNames(id), text: func() error {
		_, err := fmt.Fprintf(s.out, "Key %d wraps what is written from now on.\n", id)
		if n := made.UnderOlderKeys; err == nil && n > 0 {
			_, err = fmt.Fprintf(s.out, "%d versions are under older keys; next: coffer keyring rewrap\n", n)
		}
		return err
	}})
}

func pendingKey(status sdk.KeyringStatus) (uint32, bool) {
	for _, k := range status.Keys {
		if k.State == sdk.KeyPending {
			return k.ID, true
		}
	}
	return 0, false
}

// underOldKeys counts the versions that a rewrap is for.
func underOldKeys(status sdk.KeyringStatus) (n int64) {
	for _, k := range status.Keys {
		if k.State != sdk.KeyPrimary {
			n += k.Versions
		}
	}
	return n
}

// replicaPoll is how often the replicas are looked at.
const replicaPoll = time.Second

// waitForReplicas returns when all replicas have the newest keyset, or when ctx ends.
func (s *session) waitForReplicas(ctx context.Context, client *sdk.Client, messages io.Writer) error {
	ticker := time.NewTicker(replicaPoll)
	defer ticker.Stop()
	waiting := false
	for {
		status, err := client.KeyringStatus(ctx)
		if err != nil {
			return err
		}
		var behind []string
		for _, r := range status.Replicas {
			if r.Revision < status.Revision {
				behind = append(behind, printable(r.Name))
			}
		}
		if len(behind) == 0 {
			_, _ = fmt.Fprintf(messages, "%d replicas have it.\n", len(status.Replicas))
			return nil
		}
		if !waiting {
			waiting = true
			_, _ = fmt.Fprintf(messages, "Waiting for %s.\n", strings.Join(behind, ", "))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not load the key in time; the key stays, and the next rotate goes on with it: %w", strings.Join(behind, ", "), ctx.Err())
		case <-ticker.C:
		}
	}
}

func (s *session) keyringDestroy() *cobra.Command {
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use: "destroy KEY", Short: "Remove a key that nothing needs, for ever",
		Long: `Remove a key-encryption key for ever: an older one that wraps no version any more, or one
that was added and never used. coffer keyring rewrap does so by itself.

You are asked to confirm by typing the key, unless --yes is given. Needs the read and delete
capabilities on sys/keyring, and rotate for a key that is still enabled.`,
		Args: oneKey, Annotations: map[string]string{explainedBy: "delete", explainedPath: keyringPath},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	addDryRun(cmd, &dryRun, "go")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		id, err := parseKey(args[0])
		if err != nil {
			return err
		}
		if !yes && !dryRun {
			if err := s.confirm(args[0]); err != nil {
				return err
			}
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		ctx, cancel := s.limit(cmd)
		defer cancel()
		status, err := client.KeyringStatus(ctx)
		if err != nil {
			return err
		}
		if dryRun {
			return s.showKeyDestruction(ctx, client, status, id, output.value)
		}
		if err := destroyKey(ctx, client, status, id); err != nil {
			return err
		}
		return s.print(output.value, result{data: destroyedKey{id, destroyed}, names: keyNames(id), text: s.line("Key %d is destroyed.", id)})
	})
	return cmd
}

// destroyedKey is what keyring destroy did.
type destroyedKey struct {
	Key  uint32 `json:"key"`
	Done string `json:"done"`
}

func oneKey(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("expected the number of one key; coffer keyring status lists them")
	}
	return nil
}

func parseKey(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, usagef("%q is not the number of a key; coffer keyring status lists them", s)
	}
	return uint32(id), nil
}

var errNoSuchKey = errors.New("there is no such key; coffer keyring status lists them")

// destroyKey retires the key first when it is enabled.
func destroyKey(ctx context.Context, client *sdk.Client, status sdk.KeyringStatus, id uint32) error {
	for _, k := range status.Keys {
		if k.ID != id {
			continue
		}
		if k.State == sdk.KeyEnabled && k.Versions == 0 {
			if err := client.KeyringRetire(ctx, id); err != nil {
				return err
			}
		}
		return client.KeyringDestroy(ctx, id)
	}
	return fmt.Errorf("destroy key %d: %w", id, errNoSuchKey)
}
