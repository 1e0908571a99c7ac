//go:build !unix

package cli

import "os"

var forwarded = []os.Signal{os.Interrupt}

func fromTerminal(os.Signal) bool { return true }

func inForeground() bool { return true }

func keepFromPipes() (stop func()) { return func() {} }

func signalNamed(string) (os.Signal, bool) { return nil, false }
