// Package secret holds the vocabulary of the vault: the path of a secret, its
// versions, its value, who asks for it, and the errors every door returns.
//
// It is a leaf: it imports nothing of Coffer, so that the engine, the
// controllers and the API server can share one set of terms.
package secret
