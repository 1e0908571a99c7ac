// Package webhook leaves the steps of a rotation to a service of the owner's. docs/reference/webhook-rotator.md is the
// contract: each step is one signed POST, which may come again.
//
// The owner of a rotation chooses the address, and Coffer stands inside the network. So it is checked, once the name is
// resolved, at each dial: addresses that are not public are reached only where the operator of Coffer allows it.
// Redirects are not followed and no proxy is used, and nothing of an answer but its status gets into an error.
package webhook
