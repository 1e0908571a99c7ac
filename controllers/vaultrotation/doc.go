// Package vaultrotation brings the VaultRotations of the cluster into the engine, always as one whole set, and tells in their statuses and in
// Events how the rotations go. It rotates nothing: that is done by whichever replica has the lease of a run.
//
// Any event leads to the same request: list them all, convert, replace what differs, ask how all stand, write what changed. It is repeated every
// second while a rotation is under way, or due, and every few seconds otherwise. One that cannot be run is left out, says why, and keeps no
// other from being installed.
package vaultrotation
