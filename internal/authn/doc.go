// Package authn turns a bearer token into a secret.Caller. The API server vouches
// for every token, through a TokenReview for Coffer's audience; nothing about the
// identity is taken from the token itself, nor from the request.
package authn
