// Package clustervaultsecret reconciles ClusterVaultSecrets: it keeps one VaultSecret
// of the template in every namespace that the selector matches, takes it out of those
// that it matches no more, and sums up in the status what became of each.
//
// It never asks the vault: the VaultSecrets it makes are reconciled like any other,
// each with the rights of an account of its own namespace.
//
// A VaultSecret is the ClusterVaultSecret's when that is its controller, by UID, and
// only then it is written or deleted. There is no finalizer: the garbage collector
// takes the VaultSecrets of a deleted ClusterVaultSecret, and the namespace controller
// those of a deleted namespace, with or without a running operator.
package clustervaultsecret
