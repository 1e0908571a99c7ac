// Package sdk is the Go client of Coffer's API. It imports the standard library
// only.
//
// A program in a pod needs no configuration:
//
//	client, err := sdk.New(sdk.Config{})
//	...
//	password, err := client.Get(ctx, "production/payments/database")
//
// The label vault.coffer.dev/inject: "true" gives a pod what that takes, a token for
// Coffer and the authority of the server, in a namespace with the label
// vault.coffer.dev/injection: enabled.
//
// Elsewhere COFFER_ADDR, COFFER_TOKEN or COFFER_TOKEN_FILE, and COFFER_CACERT say
// where the server is, who the caller is and whom to trust.
//
// Every error of the server is an [*Error] with a [Code] to switch on. A path that
// does not exist and a path that the caller may not use give the same error.
package sdk
