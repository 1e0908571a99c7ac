// Package vaultpolicy brings the VaultPolicies of the cluster into the engine,
// always as one whole set, so that one evaluator decides for every door.
//
// Any event on any VaultPolicy leads to the same request: list them all, convert,
// replace. The engine writes nothing when nothing differs. Rules that have expired
// are left out, which makes their end a change that everybody is told of.
package vaultpolicy
