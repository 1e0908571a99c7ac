// Package vaultsecret reconciles VaultSecrets: it reads what a service account
// may read from the vault, keeps a native Secret equal to it, and rolls the
// workloads that use the Secret.
//
// What is in step is told from the Secret alone. Beside the data it carries two
// keyed checksums: of the data, and of the inputs (the spec's rendering part and
// the versions). A Secret whose data fits the first and whose inputs fit the
// second needs nothing: nothing is read from the vault, decrypted or written, and
// no status of an earlier run has to be believed.
//
// The cache of Secrets holds no data: a Secret's data is replaced by its checksum
// when it enters the cache (see CacheByObject).
package vaultsecret
