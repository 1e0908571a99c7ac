// Package faultproxy stands between a client and a server and does to their connections what networks do: it makes
// them slow, silent, cut, or loses one answer. The faults are of TCP; the package knows no protocol.
package faultproxy
