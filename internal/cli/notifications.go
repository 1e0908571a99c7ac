package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// notificationsPath is what policies name the notifications.
const notificationsPath = "sys/notifications"

func (s *session) notifications() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notifications",
		Short: "Test whom Coffer tells of rotations and of overdue secrets",
		Long: `Test whom Coffer tells of rotations and of overdue and leaked secrets. The file that the
manager's --notifications-config names says who they are.`,
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(s.notificationsTest())
	return cmd
}

func (s *session) notificationsTest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test [SINK]", Short: "Send a test to all sinks or to one, and print how each took it",
		Long: `Send a test to all sinks, or to one, whatever they are told of otherwise, and print how each
took it. It is not tried again. Needs the write capability on sys/notifications.`,
		Example: "  coffer notifications test platform-chat",
		Args:    atMostOneSink, Annotations: map[string]string{explainedBy: "write", explainedPath: notificationsPath},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		var sink string
		if len(args) > 0 {
			sink = args[0]
		}
		answers, err := client.TestNotifications(cmd.Context(), sink)
		if err != nil {
			return err
		}
		if err := printAll(s, output.value, answers, func(a sdk.NotificationAnswer) string { return a.Sink }, func() error { return s.printAnswers(answers) }); err != nil {
			return err
		}
		return undelivered(answers)
	})
	return cmd
}

func atMostOneSink(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%d sinks are given; give one, or none for all", len(args))
	}
	return nil
}

func (s *session) printAnswers(answers []sdk.NotificationAnswer) error {
	rows := make([][]string, len(answers))
	for i, a := range answers {
		rows[i] = []string{printable(a.Sink), a.Kind, "delivered"}
		if !a.Delivered {
			rows[i][2] = printable(a.Detail)
		}
	}
	return table(s.out, []string{"SINK", "KIND", "ANSWER"}, rows)
}

// undelivered is an error when a sink did not take the test.
func undelivered(answers []sdk.NotificationAnswer) error {
	failed := 0
	for _, a := range answers {
		if !a.Delivered {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d sinks did not take the test; the manager's file of --notifications-config says where they are", failed, len(answers))
}
