// Package sdk is the Go client of Coffer's API. It imports the standard library
// only.
//
// A program in a pod that mounts a token for Coffer's audience needs no
// configuration:
//
//	client, err := sdk.New(sdk.Config{})
//	...
//	password, err := client.Get(ctx, "production/payments/database")
//
// Elsewhere COFFER_ADDR, COFFER_TOKEN or COFFER_TOKEN_FILE, and COFFER_CACERT say
// where the server is, who the caller is and whom to trust.
//
// Every error of the server is an [*Error] with a [Code] to switch on. A path that
// does not exist and a path that the caller may not use give the same error.
package sdk
