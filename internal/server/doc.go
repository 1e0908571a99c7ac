// Package server is Coffer's HTTP API: it turns requests into calls of the vault's
// engine, and the engine's errors into problems (RFC 9457).
//
// It decides nothing about access. Each request is authenticated before anything of
// it but its head is read; the caller goes to the engine, which authorises and
// audits. A path stands in the query, never in the URL's path, so that no router,
// proxy or cleaner of URLs changes what was asked.
//
// Neither the log nor a problem holds anything from a body.
package server

//go:generate go run ./describe ../../docs/reference/openapi.json ../../sdk/actions.go
