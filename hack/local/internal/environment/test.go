package environment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/coffer-vault/coffer/hack/local/internal/layout"
)

// TestEndToEnd runs test/e2e with the environment, which it starts, and stops after, unless it runs already. What the
// tests print goes to out. pattern chooses tests as that of go test -run does; all when it is empty.
func (e *Environment) TestEndToEnd(ctx context.Context, out io.Writer, pattern string) (err error) {
	if !e.Running() {
		defer func() {
			err = errors.Join(err, e.Down(context.WithoutCancel(ctx)))
		}()
	}
	if err := e.Up(ctx); err != nil {
		return err
	}
	state, err := e.State()
	if err != nil {
		return err
	}
	if state.Mode == layout.ModeControlPlane {
		e.Step.Say("the end-to-end tests need a node, which this machine cannot run: they are not run")
		return nil
	}
	cmd := e.Command(ctx, "go", "test", "-tags", "e2e", "-count=1", "-timeout=30m", "-v", "-run", pattern, "./test/e2e")
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the end-to-end tests failed: %w", err)
	}
	return nil
}
