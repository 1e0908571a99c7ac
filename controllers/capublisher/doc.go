// Package capublisher keeps the certificate authority of Coffer's API in every namespace
// that asks for it by its label, as the ConfigMap that pods mount beside their token.
//
// The original is the ConfigMap of the same name in the installation's own namespace,
// which internal/servercert writes. A copy is Coffer's when it has the label
// app.kubernetes.io/managed-by: coffer, and only then it is written or deleted.
package capublisher
