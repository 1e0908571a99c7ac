// Package capublisher keeps the certificate authority of Coffer's API in every namespace
// that asks for it by its label, as the ConfigMap that pods mount beside their token.
//
// The original is the ConfigMap of the same name in the installation's own namespace,
// which internal/servercert writes. A copy has the label vault.coffer.dev/authority-of
// with that namespace, and only then it is written or deleted: originals and copies of
// other installations in the cluster are not this one's.
package capublisher
