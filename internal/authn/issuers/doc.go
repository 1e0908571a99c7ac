// Package issuers believes the tokens of OpenID Connect issuers that an administrator
// names in a file: for callers that the Kubernetes API server does not know, such as the
// pipelines of a CI system.
//
// A token is one of an issuer when its unverified claim iss says so, and is then believed
// only with a signature by one of the issuer's keys, for an audience of ours, in its time
// and with the claims that the file asks for. Names and groups carry the issuer's prefix,
// so that they are nobody's whom Kubernetes knows.
//
// Issuers are asked over https only, and no redirect is followed. Nothing of a token but
// its issuer decides where a request goes, and no request carries a token.
package issuers
