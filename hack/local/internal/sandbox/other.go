//go:build !linux

package sandbox

import (
	"context"
	"errors"
)

var errLinuxOnly = errors.New("a node needs Linux")

// Config of Start.
type Config struct {
	Node, Cache, Alive string
	Init               []string
}

// Start says that this machine cannot.
func Start(context.Context, Config) (int, error) { return 0, errLinuxOnly }

// Stop has nothing to do.
func Stop(context.Context, int, Config) error { return nil }

// Init says that this machine cannot.
func Init([]string) error { return errLinuxOnly }

// LoadModules has nothing to do.
func LoadModules(context.Context) {}
