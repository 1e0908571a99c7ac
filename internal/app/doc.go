// Package app wires the manager: flags to Config, Config to a running operator
// and API server. It is the only package that knows every other one.
package app
