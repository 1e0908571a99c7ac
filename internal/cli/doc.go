// Package cli is the command line: commands over the SDK. It reads like kubectl: a
// verb, a path, -o. Values come from standard input, a file or a prompt that does not
// echo, never from an argument, and only get prints one.
//
// Every error says what was asked, why it failed and what to do next, and has an exit
// code; see ExitCodes.
package cli

//go:generate go run ./reference ../../docs/reference/cli.md
