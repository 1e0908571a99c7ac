// Package servercert gives the API server a certificate that nobody has to
// manage: an authority of the installation's own, kept in one Secret, and a
// short-lived server certificate issued from it and renewed in place. The
// authority's certificate is published in a ConfigMap for clients to trust.
//
// All replicas share the Secret. Whoever finds the certificate missing or due
// writes a new one with a precondition on the Secret's resourceVersion; whoever
// loses that race reads what the winner wrote.
package servercert
