package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/hack/local/internal/debian"
	"github.com/coffer-vault/coffer/hack/local/internal/environment"
	"github.com/coffer-vault/coffer/hack/local/internal/step"
	"github.com/coffer-vault/coffer/hack/local/internal/tour"
)

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "local",
		Short:         "Run Coffer's local environment",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(depsCommand(), assetsCommand(), upCommand(), downCommand(), envCommand(), serviceCommand(),
		demoCommand(), deployCommand(), imageCommand(), testCommand())
	root.AddCommand(internalCommands()...)
	return root
}

// open makes the environment that the commands act on; its story goes to standard error.
func open() (*environment.Environment, error) { return environment.New(step.New(os.Stderr)) }

func depsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "deps", Short: "Install the Debian packages that the environment and the tests need", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			needs := append(debian.Servers(), debian.Tested()...)
			if environment.NodeImpossible() == "" {
				needs = append(needs, debian.Node()...)
			} else {
				needs = append(needs, debian.Compiler()...)
			}
			return debian.Ensure(cmd.Context(), step.New(os.Stderr), needs)
		},
	}
}

func assetsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "assets", Short: "Print the directory of the programs envtest needs, after getting or building them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			dir, err := e.Assets(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), dir)
			return nil
		},
	}
}

func upCommand() *cobra.Command {
	return &cobra.Command{
		Use: "up", Short: "Start the environment, or bring the running one up to date", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			if err := e.Up(cmd.Context()); err != nil {
				return err
			}
			return printEnv(cmd, e)
		},
	}
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the environment and remove what it left", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			return e.Down(cmd.Context())
		},
	}
}

func envCommand() *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Print export lines for using the running environment", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			return printEnv(cmd, e)
		},
	}
}

func printEnv(cmd *cobra.Command, e *environment.Environment) error {
	if _, err := e.State(); err != nil {
		return err
	}
	text, err := os.ReadFile(e.Layout.EnvFile())
	if err != nil {
		return fmt.Errorf("the environment is not fully up (make up finishes it): %w", err)
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Show Coffer's main job; with DEMO_EXIT=1 take everything down after it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			t := &tour.Tour{Environment: e, Step: e.Step, Out: cmd.OutOrStdout()}
			err = t.Run(cmd.Context())
			if os.Getenv("DEMO_EXIT") == "1" {
				// Also after a failure or an interrupt.
				err = errors.Join(err, e.Down(context.WithoutCancel(cmd.Context())))
			}
			return err
		},
	}
}

func deployCommand() *cobra.Command {
	return &cobra.Command{
		Use: "deploy", Short: "Install Coffer on the cluster KUBECONFIG names (IMG, DATABASE_URL, REDIS_URL)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			return e.Deploy(cmd.Context(), environment.TargetFromEnvironment())
		},
	}
}

func imageCommand() *cobra.Command {
	var reference, output string
	command := &cobra.Command{
		Use: "image", Short: "Build Coffer's image without a daemon", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			if err := e.Step.Do("building image "+reference, func() error {
				return e.BuildImage(cmd.Context(), reference, output)
			}); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), output)
			return nil
		},
	}
	command.Flags().StringVar(&reference, "reference", cmp.Or(os.Getenv("IMG"), "coffer:dev"), "name and tag of the image")
	command.Flags().StringVar(&output, "output", "dist/coffer-image.tar", "file for the archive (as docker load and ctr images import read it)")
	return command
}

func testCommand() *cobra.Command {
	var pattern string
	command := &cobra.Command{
		Use: "test-e2e", Short: "Run the end-to-end tests, in an environment started for them unless one runs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			return e.TestEndToEnd(cmd.Context(), cmd.OutOrStdout(), pattern)
		},
	}
	command.Flags().StringVar(&pattern, "run", "", "run the tests that this regular expression matches, as go test -run does")
	return command
}

func serviceCommand() *cobra.Command {
	service := &cobra.Command{Use: "service", Short: "Look at, stop and start single programs of the environment"}
	service.AddCommand(&cobra.Command{
		Use: "list", Short: "List the programs and their state", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := open()
			if err != nil {
				return err
			}
			client, err := e.Services()
			if err != nil {
				return err
			}
			all, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			for _, s := range all {
				fmt.Fprintf(cmd.OutOrStdout(), "%-24s %-10s %s\n", s.Name, s.State, s.Message)
			}
			return nil
		},
	})
	for _, verb := range []struct{ name, short string }{
		{"start", "Start a program and wait until it is ready"},
		{"stop", "Stop a program in order"},
		{"crash", "Kill a program"},
	} {
		service.AddCommand(&cobra.Command{
			Use: verb.name + " NAME", Short: verb.short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				e, err := open()
				if err != nil {
					return err
				}
				client, err := e.Services()
				if err != nil {
					return err
				}
				return client.Act(cmd.Context(), args[0], verb.name)
			},
		})
	}
	return service
}

// internalCommands are those this program runs itself with.
func internalCommands() []*cobra.Command {
	return []*cobra.Command{
		{
			Use: environment.InitCommand, Hidden: true, Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return environment.RunInit() },
		},
		{
			Use: environment.SuperviseCommand + " PLAN", Hidden: true, Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return environment.RunSupervisor(args[0]) },
		},
	}
}
