package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// showRotationRun shows who has the secret that a run would rotate. It fails where the run would.
func (s *session) showRotationRun(cmd *cobra.Command, path string, revokeOld bool, output string) error {
	return s.showRotation(cmd, path, output, func(defined sdk.RotationStatus) (would string, err error) {
		run, underWay := runUnderWay(defined)
		switch {
		case !underWay && revokeOld:
			return "The rotation of " + path + " (" + defined.Method + ") would run, and revoke the former credential without waiting for %s", nil
		case !underWay:
			return "The rotation of " + path + " (" + defined.Method + ") would run, and wait for %s before it revokes the former credential", nil
		case revokeOld && hurries(run):
			return "The rotation of " + path + " that is under way (" + run.State + ") would revoke the former credential without waiting for %s", nil
		}
		return "", &sdk.Error{Code: sdk.CodeConflict, Detail: "rotate " + path + ": the path is being rotated (" + run.State + ")"}
	})
}

// showApproval shows who would not be waited for any more. It fails where the approval would.
func (s *session) showApproval(cmd *cobra.Command, path, output string) error {
	return s.showRotation(cmd, path, output, func(defined sdk.RotationStatus) (would string, err error) {
		run, underWay := runUnderWay(defined)
		if underWay {
			switch run.State {
			case "current", "propagating", "withdrawing", "failed":
				return "The rotation of " + path + " (" + run.State + ") would go on without waiting for %s", nil
			}
		}
		return "", &sdk.Error{Code: sdk.CodeConflict, Detail: "approve " + path + ": no rotation of it waits for an approval"}
	})
}

// runUnderWay is the run of a rotation that has not ended.
func runUnderWay(r sdk.RotationStatus) (sdk.RotationRun, bool) {
	if len(r.Runs) == 0 || r.Runs[0].Ended {
		return sdk.RotationRun{}, false
	}
	return r.Runs[0], true
}

// hurries reports whether a run can be told to wait for nobody: one that does not go back.
func hurries(run sdk.RotationRun) bool {
	switch run.State {
	case "failed", "withdrawing", "revoking":
		return false
	default:
		return true
	}
}

// showRotation lists the consumers of a path that is rotated, and says what would be done, a text that has %s where they are named.
func (s *session) showRotation(cmd *cobra.Command, path, output string, plan func(sdk.RotationStatus) (would string, err error)) error {
	client, err := s.client(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := s.limit(cmd)
	defer cancel()
	would, consumers, err := planRotation(ctx, client, path, cmd.Name(), plan)
	if err != nil {
		return err
	}
	if err := s.printConsumers(consumers, output); err != nil {
		return err
	}
	return s.wouldDo(would, count(int64(len(consumers)), "consumer"))
}

func planRotation(
	ctx context.Context, client *sdk.Client, path, verb string, plan func(sdk.RotationStatus) (string, error),
) (would string, consumers []sdk.Consumer, err error) {
	if err := mayDo(ctx, client, path, "rotate", verb); err != nil {
		return "", nil, err
	}
	defined, err := client.ShowRotation(ctx, path)
	if err != nil {
		return "", nil, err
	}
	if would, err = plan(defined); err != nil {
		return "", nil, err
	}
	consumers, err = client.Consumers(ctx, path)
	if err != nil {
		return "", nil, fmt.Errorf("list the consumers of %s: %w", path, err)
	}
	return would, consumers, nil
}
