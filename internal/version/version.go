// Package version knows which build this is.
package version

// version is set by the linker; see the Makefile.
var version = "dev"

// String returns the version of this build, such as "v0.1.0-3-gabc123", or "dev".
func String() string { return version }

// API is the version of the HTTP API, which moves by itself.
const API = "v1"
