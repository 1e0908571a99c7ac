// Package authn turns a bearer token into a secret.Caller by asking the Kubernetes
// API server, or, when the token is one of an issuer that the administrator names, with
// that issuer's keys (package issuers).
//
// A token is believed only when a TokenReview says that it is authentic and that it
// was issued for Coffer's audience: a token for the API server itself, which other
// programs may have seen, does not open the vault. Everything in the Caller comes
// from the review, from the signed claims or from the namespace's metadata, never from the
// request. No token makes a secret.KindSystem caller, and none of an issuer a service account.
package authn
