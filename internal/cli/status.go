package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/internal/version"
	"github.com/coffer-vault/coffer/sdk"
)

// verifyTime bounds the verification of the audit log that status does: who looks waits no longer. coffer audit verify
// takes as long as it needs.
const verifyTime = 5 * time.Second

// installationStatus is how an installation stands, as far as the caller may see it. What is nil was not shown.
type installationStatus struct {
	Server string        `json:"server"`
	Client string        `json:"client"`
	Ready  bool          `json:"ready"`
	You    *sdk.Identity `json:"you,omitempty"`
	// Policies are which are in force and since when, with their number.
	Policies *policiesStatus    `json:"policies,omitempty"`
	Overdue  *int               `json:"overdue,omitempty"`
	Keyring  *sdk.KeyringStatus `json:"keyring,omitempty"`
	Audit    *sdk.AuditReport   `json:"audit,omitempty"`
	// NotShown says of each part, by its name here, why it is not there.
	NotShown map[string]string `json:"notShown,omitempty"`
}

// policiesStatus is the policies in force, by their number.
type policiesStatus struct {
	sdk.PolicySet
	Count int `json:"count"`
}

// The parts of an installationStatus that may be missing, as JSON names them.
const (
	partReady    = "ready"
	partYou      = "you"
	partPolicies = "policies"
	partOverdue  = "overdue"
	partKeyring  = "keyring"
	partAudit    = "audit"
)

func (s *session) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show on one screen how the vault stands",
		Long: `Show on one screen whether the vault is ready, who it takes you to be, since when the VaultPolicies are in
force, how many secrets are overdue, which keys it has, and whether the audit log is whole. A part that you may not
see says what it needs: audit on sys/policies, read on sys/keyring, audit on sys/audit. That is no error; of the overdue secrets, those count that you may list.

Exits 0 when the vault is ready, 6 when it is not or does not answer, 4 when it does not accept your token, and
7 when the audit log is not as it was written. The log is verified for five seconds at most; what is longer, coffer audit
verify does. Leave that out with --skip-verify where you ask often.`,
		Example: `  coffer status
  coffer status --skip-verify -o json`,
		Args: noArgs,
	}
	skipVerify := cmd.Flags().Bool("skip-verify", false, "do not verify the audit log")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = s.do(func(cmd *cobra.Command, _ []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		found, failed := statusOf(cmd.Context(), client, *skipVerify, s.now())
		if err := s.print(output.value, result{data: found, text: func() error { return s.printStatus(found) }}); err != nil {
			return err
		}
		return failed
	})
	return cmd
}

// statusOf asks for one part after the other. Its error is that of the first part that failed for another reason than that
// the caller may not see it; findings in the audit log are one.
func statusOf(ctx context.Context, client *sdk.Client, skipVerify bool, now time.Time) (installationStatus, error) {
	found := installationStatus{Server: client.Address(), Client: version.String(), NotShown: map[string]string{}}
	// Without these two, no other part is worth its retries.
	if err := client.Ready(ctx); err != nil {
		found.NotShown[partReady] = err.Error()
		return found, err
	}
	found.Ready = true
	me, err := client.Whoami(ctx)
	if err != nil {
		found.NotShown[partYou] = err.Error()
		return found, err
	}
	found.You = &me
	parts := []statusPart{
		{partPolicies, "audit", policiesPath, found.addPolicies},
		{partOverdue, "list", "the paths", func(ctx context.Context, client *sdk.Client) error { return found.addOverdue(ctx, client, now) }},
		{partKeyring, "read", keyringPath, found.addKeyring},
	}
	if skipVerify {
		found.NotShown[partAudit] = "left out by --skip-verify"
	} else {
		parts = append(parts, statusPart{partAudit, "audit", auditPath, found.addAudit})
	}
	var failed error
	for _, part := range parts {
		err := part.add(ctx, client)
		switch {
		case err == nil:
		case sdk.CodeOf(err) == sdk.CodeNotFoundOrDenied:
			found.NotShown[part.name] = fmt.Sprintf("you may not see it; it needs %s on %s", part.capability, part.path)
		default:
			found.NotShown[part.name] = err.Error()
			failed = cmp.Or(failed, err)
		}
	}
	if failed == nil && found.Audit != nil {
		failed = findingsOf(*found.Audit)
	}
	return found, failed
}

// statusPart is one part to ask for, and what that needs.
type statusPart struct {
	name, capability, path string
	add                    func(context.Context, *sdk.Client) error
}

func (i *installationStatus) addPolicies(ctx context.Context, client *sdk.Client) error {
	found, err := client.Policies(ctx)
	if err == nil {
		i.Policies = &policiesStatus{found.PolicySet, len(found.Items)}
	}
	return err
}

func (i *installationStatus) addOverdue(ctx context.Context, client *sdk.Client, now time.Time) error {
	late, err := overdueRotations(ctx, client, "", now)
	if err == nil {
		i.Overdue = new(len(late))
	}
	return err
}

func (i *installationStatus) addKeyring(ctx context.Context, client *sdk.Client) error {
	keyring, err := client.KeyringStatus(ctx)
	if err == nil {
		i.Keyring = &keyring
	}
	return err
}

// addAudit verifies the log. That it is too long for verifyTime is no error.
func (i *installationStatus) addAudit(ctx context.Context, client *sdk.Client) error {
	within, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	report, err := client.VerifyAudit(within, nil)
	if err != nil && errors.Is(within.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		i.NotShown[partAudit] = fmt.Sprintf("not verified within %s; see coffer audit verify", verifyTime)
		return nil
	}
	if err == nil {
		i.Audit = &report
	}
	return err
}
