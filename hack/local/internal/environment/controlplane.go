package environment

import (
	"context"
	"errors"

	"github.com/coffer-vault/coffer/hack/local/internal/layout"
)

func (e *Environment) startControlPlane(context.Context) (*layout.State, error) {
	return nil, errors.New("not yet")
}

func (e *Environment) endControlPlane(context.Context, *layout.State) error { return nil }
