package rotator

import "context"

type runKey struct{}

// WithRun names the rotation whose steps are called with the context: the same name for every step of one, also when
// it is called again, and another for each rotation. Rotators that ask others to do it give them the name, for them to
// know what they have done already.
func WithRun(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, runKey{}, id)
}

// Run is the name that WithRun gave, or "".
func Run(ctx context.Context) string {
	id, _ := ctx.Value(runKey{}).(string)
	return id
}
